"""Tests that request lines and headers are bounded before anything is known about the client."""

from collections.abc import Callable

import pytest

from waypost.webhook.protocol import LARGEST_HEAD, LONGEST_LINE, MOST_HEADERS

from ...webhook import posts
from .clients import MIB, allow_connections, connect, delivery, exchange, head, receive, send, statuses
from .conftest import Attacked

pytestmark = pytest.mark.fault("D10")


def padded(line: int = 0, size: int = 0) -> bytes:
    """Returns a handshake with a request line of `line` bytes, or a head of `size` bytes."""
    target = posts.PATH + "?"
    target += "a" * (line - len(f"GET {target} HTTP/1.1"))
    start = f"GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
    rest = size - len(start) - len("x: \r\n\r\n")
    return (start + f"x: {'b' * max(rest, 0)}\r\n\r\n").encode()


def test_a_line_of_49_mib(attacked: Attacked) -> None:
    """A request line of 49 MiB is refused with 414 after its first 8 KiB, also if it comes in many pieces."""
    assert statuses(exchange(attacked.address, b"POST /", *[b"a" * MIB] * 49)) == [414]
    assert statuses(exchange(attacked.address, b"GET ", *[b"/" * 1_000] * 9)) == [414]


def test_61_mib_of_small_headers(attacked: Attacked) -> None:
    """Millions of small headers are refused with 431, and so is a single header of the same size."""
    for part in (b"a:\r\n" * (MIB // 4), b"a" * MIB, b" " * MIB):
        assert statuses(exchange(attacked.address, head()[:-2], b"b:" * 20, *[part] * 61)) == [431]


def test_the_limits_of_a_head(attacked: Attacked) -> None:
    """A line of 8 KiB, a head of 32 KiB and 100 headers are accepted. One byte or one header more is refused."""
    headers = head(*["a: b"] * (MOST_HEADERS - 2), "connection: close")
    assert statuses(exchange(attacked.address, padded(line=LONGEST_LINE))) == [403]
    assert statuses(exchange(attacked.address, padded(line=LONGEST_LINE + 1))) == [414]
    assert statuses(exchange(attacked.address, padded(size=LARGEST_HEAD))) == [403]
    assert statuses(exchange(attacked.address, padded(size=LARGEST_HEAD + 1))) == [431]
    assert statuses(exchange(attacked.address, headers)) == [400]
    assert statuses(exchange(attacked.address, headers.replace(b"a: b", b"a: b\r\nc: d", 1))) == [431]


def test_empty_lines_without_end(attacked: Attacked) -> None:
    """Empty lines without end are refused, before and after a request. They belong to no request."""
    assert statuses(exchange(attacked.address, *[b"\r\n" * 4096] * 5)) == [431]
    body = posts.delivery(posts.item(posts.wamid()))
    with connect(attacked.address) as connection:
        send(connection, delivery(body))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        send(connection, b"\r\n" * LARGEST_HEAD)
        assert statuses(receive(connection)) == [431]


def test_pipelined_requests(attacked: Attacked) -> None:
    """Of requests that do not wait for an answer, two are answered. Then the connection is closed."""
    request = b"GET /webhooks/no/body HTTP/1.1\r\nhost: a\r\n\r\n"
    for _ in range(20):
        answers = exchange(attacked.address, *[request * 10_000] * 5)
        assert set(statuses(answers)) == {404}
        assert len(statuses(answers)) <= 3


def test_thousands_of_half_open_requests(attacked: Attacked) -> None:
    """Thousands of connections that send nothing, half a head, or half a body are closed to make place for others."""
    halves = [b"", head()[:-2], head("content-length: 1000") + b"half", head(*[f"x: {'y' * 300}"] * 90)[:-2]]
    connections = []
    for number in range(allow_connections(10_000)):
        connection = connect(attacked.address)
        connections.append(connection)
        send(connection, halves[number % len(halves)])
    for connection in connections:
        connection.close()


def test_heads_that_never_end(attacked: Attacked, wait_for: Callable[..., object]) -> None:
    """Heads that stay just below the limit on many connections take a bounded part of the memory."""
    almost = padded(size=LARGEST_HEAD)[:-2]
    connections = [connect(attacked.address) for _ in range(allow_connections(2_000))]
    for connection in connections:
        send(connection, almost)
    for connection in connections:
        connection.close()
