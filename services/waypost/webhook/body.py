"""Reads a delivery's body within bounds: no encodings, and at most 4 MiB. `server.Protocol` enforces the deadline.

    UnreadableBody
    ├── EncodedBody         415: the body has a Content-Encoding; this service decompresses nothing
    ├── BodyTooLarge        413: the Content-Length, or the part that has arrived, is too large
    └── ClientGone          the client closed the connection, so no answer can be sent

The webhook does not retry after these errors. Meta repeats every delivery that was not answered with 200.
"""

from dataclasses import dataclass

from starlette.types import Receive, Scope

LARGEST = 4 * 1024 * 1024
"""Largest body in bytes. Meta's deliveries have up to 3 MB."""


class UnreadableBody(Exception):
    """Raised when a body was not read. `status` is the HTTP status of the answer."""

    status = 400


class EncodedBody(UnreadableBody):
    """Raised when the body has a Content-Encoding."""

    status = 415


class BodyTooLarge(UnreadableBody):
    """Raised when the Content-Length, or the part of the body that has arrived, is larger than `LARGEST`."""

    status = 413


class ClientGone(UnreadableBody):
    """Raised when the client closed the connection before the end of its body, or was too slow."""


@dataclass(slots=True)
class Headers:
    """The few request headers that decide how a delivery is handled."""

    length: int | None = None
    encoded: bool = False
    signature: str | None = None
    """The signature header; None if it is missing or occurs twice."""
    forwarded_for: str = ""


def read_headers(scope: Scope) -> Headers:
    """Reads the headers from a request in one pass.

    The ASGI specification guarantees that their names are lower-case.
    """
    found = Headers()
    signatures = 0
    for name, value in scope["headers"]:
        if name == b"x-hub-signature-256":
            signatures += 1
            found.signature = value.decode("latin-1") if signatures == 1 else None
        elif name == b"content-length":
            # httptools has already refused a length that is no number, and a second one.
            found.length = int(value)
        elif name == b"content-encoding":
            found.encoded = True
        elif name == b"x-forwarded-for":
            found.forwarded_for = f"{found.forwarded_for},{value.decode('latin-1')}".lstrip(",")
    return found


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """Returns the whole body. Raises `UnreadableBody`."""
    if headers.encoded:
        raise EncodedBody
    if headers.length is not None and headers.length > LARGEST:
        raise BodyTooLarge
    # One buffer for all pieces: a list of pieces of a few bytes would take many times the memory of the body.
    read = bytearray()
    while (message := await receive())["type"] == "http.request":
        piece: bytes = message.get("body", b"")
        if len(read) + len(piece) > LARGEST:
            raise BodyTooLarge
        if not message.get("more_body", False):
            if not read:
                return piece
            read += piece
            return bytes(read)
        read += piece
    raise ClientGone
