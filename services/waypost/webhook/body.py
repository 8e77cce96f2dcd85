"""Reads a delivery's body within bounds: no encodings, and at most 4 MiB. `server.Protocol` enforces its deadline.

    UnreadableBody
    ├── EncodedBody         415: the body has a Content-Encoding; nothing is ever inflated here
    ├── BodyTooLarge        413: by its Content-Length, or by what has arrived so far
    └── ClientGone          the client went away; there is no one to answer

We retry after none of them; Meta delivers again whatever was not answered with 200.
"""

from dataclasses import dataclass

from starlette.types import Receive, Scope

LARGEST = 4 * 1024 * 1024
"""Bytes. Meta's deliveries have up to 3 MB."""


class UnreadableBody(Exception):
    """The body was not read; `status` is the answer."""

    status = 400


class EncodedBody(UnreadableBody):
    """The body has a Content-Encoding."""

    status = 415


class BodyTooLarge(UnreadableBody):
    """The body is, or says it is, larger than `LARGEST`."""

    status = 413


class ClientGone(UnreadableBody):
    """The client closed the connection within its body, or was too slow with it."""


@dataclass(slots=True)
class Headers:
    """The few headers that decide what becomes of a delivery."""

    length: int | None = None
    encoded: bool = False
    signature: str | None = None
    """None when missing, or when there are two."""
    forwarded_for: str = ""


def read_headers(scope: Scope) -> Headers:
    """Picks the headers in one pass; names are lower-case by the ASGI specification."""
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
    chunks: list[bytes] = []
    size = 0
    while (message := await receive())["type"] == "http.request":
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > LARGEST:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return b"".join([*chunks, chunk]) if chunks else chunk
        chunks.append(chunk)
    raise ClientGone
