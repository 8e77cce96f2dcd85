"""Tests that a request whose end is in doubt is refused, and never taken for two (request smuggling)."""

import pytest

from ...webhook import posts
from .clients import delivery, exchange, head, statuses
from .conftest import Attacked

SECOND = "GET /webhooks/no/second HTTP/1.1\r\nhost: a\r\n\r\n"
"""A request that is hidden in another one. An answer to it would be 404."""

START = f"POST {posts.PATH} HTTP/1.1\r\nhost: a\r\n"

CHUNKED = f"{START}transfer-encoding: chunked\r\n\r\n"

REQUESTS = {
    "length and chunks": f"{START}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{SECOND}",
    "chunks and length": f"{START}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{SECOND}",
    "two lengths": f"{START}content-length: 0\r\ncontent-length: {len(SECOND)}\r\n\r\n{SECOND}",
    "the same length twice": f"{START}content-length: 0\r\ncontent-length: 0\r\n\r\n{SECOND}",
    "a list of lengths": f"{START}content-length: 0, {len(SECOND)}\r\n\r\n{SECOND}",
    "a signed length": f"{START}content-length: +0\r\n\r\n{SECOND}",
    "an unknown coding": f"{START}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{SECOND}",
    "chunked before another coding": f"{START}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{SECOND}",
    "codings twice": f"{START}transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n{SECOND}",
    "bare LF": f"POST {posts.PATH} HTTP/1.1\nhost: a\ncontent-length: 0\n\n{SECOND}",
    "bare LF in headers": f"{START}x: y\ncontent-length: {len(SECOND)}\r\n\r\n{SECOND}",
    "bare LF at the end": f"{START}content-length: 0\r\n\n{SECOND}",
    "bare CR": f"{START}x: y\rcontent-length: {len(SECOND)}\r\n\r\n{SECOND}",
    "blank before the colon": f"{START}content-length : {len(SECOND)}\r\n\r\n{SECOND}",
    "blank before the name": f"POST {posts.PATH} HTTP/1.1\r\n content-length: {len(SECOND)}\r\nhost: a\r\n\r\n{SECOND}",
    "a folded header": f"{START}x: y\r\n content-length: {len(SECOND)}\r\n\r\n{SECOND}",
    "a folded length": f"{START}content-length:\r\n {len(SECOND)}\r\n\r\n{SECOND}",
    "NUL in a value": f"{START}x: y\0z\r\ncontent-length: 0\r\n\r\n{SECOND}",
    "NUL in a name": f"{START}x\0: y\r\ncontent-length: 0\r\n\r\n{SECOND}",
    "a bad chunk size": f"{CHUNKED}zz\r\n\r\n{SECOND}",
    "a huge chunk size": f"{CHUNKED}10000000000000000\r\n\r\n{SECOND}",
    "a bad chunk end": f"{CHUNKED}2\r\nabcd\r\n0\r\n\r\n{SECOND}",
    "a chunk that ends with LF": f"{CHUNKED}2\nab\n0\n\n{SECOND}",
    "no HTTP": f"nonsense\r\n\r\n{SECOND}",
    "another version": f"POST {posts.PATH} HTTP/9.9\r\nhost: a\r\n\r\n{SECOND}",
    "a control character in the line": f"POST {posts.PATH}\x01 HTTP/1.1\r\nhost: a\r\n\r\n{SECOND}",
}


@pytest.mark.fault("D11")
def test_requests_that_proxies_read_differently(attacked: Attacked) -> None:
    """A request that a proxy might end elsewhere is answered with 400 or not at all, and the connection is closed.

    What follows it on the connection is never answered as a request of its own.
    """
    found = {name: statuses(exchange(attacked.address, request.encode())) for name, request in REQUESTS.items()}
    assert {name: each for name, each in found.items() if each not in ([400], [])} == {}


@pytest.mark.fault("D11")
def test_a_damaged_request_does_not_change_the_answer_before_it(attacked: Attacked) -> None:
    """If a damaged request follows a good delivery, the good one's answer is a 200 or missing, and never a 400."""
    good = delivery(posts.delivery(posts.item(posts.wamid())))
    for damaged in (b"nonsense\r\n\r\n", head("content-length : 4"), b"\0"):
        assert statuses(exchange(attacked.address, good + damaged)) in ([200], [200, 400], [])


@pytest.mark.fault("D11")
def test_a_request_for_another_protocol(attacked: Attacked) -> None:
    """A request that asks for another protocol is answered as usual, and what follows it is not read as a request."""
    upgrade = head("connection: upgrade", "upgrade: h2c", "content-length: 2") + b"{}"
    for after in (SECOND.encode(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" * 1000):
        assert statuses(exchange(attacked.address, upgrade + after)) == [400]
