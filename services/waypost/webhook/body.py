"""Reading a delivery's body within bounds: no encodings, and 4 MiB. Its deadline is kept by `server.Protocol`.

    Unreadable
    ├── Encoded         415: it has a Content-Encoding; nothing is ever inflated here
    ├── TooLarge        413: by its Content-Length, or by what has come so far
    └── Gone            the client went away; there is nobody to answer

None is worth a retry by us; Meta redelivers whatever was not answered with 200.
"""

from dataclasses import dataclass

from starlette.types import Receive, Scope

LARGEST = 4 * 1024 * 1024
"""Bytes. Meta's deliveries have up to 3 MB."""


class Unreadable(Exception):
    """The body was not read; `status` is the answer."""

    status = 400


class Encoded(Unreadable):
    """The body has a Content-Encoding."""

    status = 415


class TooLarge(Unreadable):
    """The body is, or says it is, larger than `LARGEST`."""

    status = 413


class Gone(Unreadable):
    """The client closed the connection within its body, or was too slow with it."""


@dataclass(slots=True)
class Headers:
    """The few headers that a delivery is judged by."""

    length: int | None = None
    encoded: bool = False
    signature: str | None = None
    """None when missing, or when there are two."""
    forwarded_for: str = ""


def headers(scope: Scope) -> Headers:
    """Pick them in one pass; names are lower-case by the ASGI specification."""
    found = Headers()
    signatures = 0
    for name, value in scope["headers"]:
        if name == b"x-hub-signature-256":
            signatures += 1
            found.signature = value.decode("latin-1") if signatures == 1 else None
        elif name == b"content-length":
            # The server has refused what is no number and what comes twice.
            found.length = int(value)
        elif name == b"content-encoding":
            found.encoded = True
        elif name == b"x-forwarded-for":
            found.forwarded_for = f"{found.forwarded_for},{value.decode('latin-1')}".lstrip(",")
    return found


async def read(head: Headers, receive: Receive) -> bytes:
    """The whole body. Raises `Unreadable`."""
    if head.encoded:
        raise Encoded
    if head.length is not None and head.length > LARGEST:
        raise TooLarge
    chunks: list[bytes] = []
    size = 0
    while (message := await receive())["type"] == "http.request":
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > LARGEST:
            raise TooLarge
        if not message.get("more_body", False):
            return b"".join([*chunks, chunk]) if chunks else chunk
        chunks.append(chunk)
    raise Gone
