"""Holds the answers to requests that are refused before the application sees them."""

RETRY_AFTER_S = 5
"""Seconds after which a client may repeat a delivery that was answered with 503."""


def _refusal(status: bytes, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: 0\r\n%sconnection: close\r\n\r\n" % (status, extra)


REFUSALS = {
    400: _refusal(b"400 Bad Request"),
    408: _refusal(b"408 Request Timeout"),
    414: _refusal(b"414 URI Too Long"),
    431: _refusal(b"431 Request Header Fields Too Large"),
    503: _refusal(b"503 Service Unavailable", b"retry-after: %d\r\n" % RETRY_AFTER_S),
}
"""The answers to refused requests, by status. `protocol` says when each is sent."""
