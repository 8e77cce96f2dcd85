"""The server under the application: deadlines for clients that never finish, and what HTTP itself forbids."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from waypost.contracts import registry
from waypost.webhook import app, server
from waypost.webhook.directory import Directory
from waypost.webhook.intake import Intake

from . import posts


class QuickProtocol(server.Protocol):
    """Waits as long as a test can."""

    header_deadline_s = 0.5
    body_deadline_s = 0.5


@pytest.fixture
def web(database: Engine, registry_dir: Path, wait_for: Callable[..., object]) -> Iterator[server.Server]:
    """The webhook on a real socket, in a thread, with short deadlines and a drain that lasts longer than a test."""
    intake = Intake(database, on_committed=lambda _lanes: None)
    application = app.create(Directory(registry.routes(registry_dir)), intake)
    configuration = server.config(application, host="127.0.0.1", port=0)
    configuration.http = QuickProtocol
    web = server.Server(configuration, on_end=lambda: None, drain_s=300)
    thread = threading.Thread(target=web.run)
    thread.start()
    wait_for(lambda: web.started)
    yield web
    web.should_exit = True
    thread.join(30)


@pytest.fixture
def address(web: server.Server) -> tuple[str, int]:
    """Where it listens."""
    assert web.port is not None
    return ("127.0.0.1", web.port)


def exchange(address: tuple[str, int], *parts: bytes) -> bytes:
    """Send, and read until the server closes the connection."""
    with socket.create_connection(address, timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


def head(*lines: str) -> bytes:
    """The head of a delivery."""
    return "\r\n".join([f"POST {posts.PATH} HTTP/1.1", "host: webhook", *lines, "", ""]).encode()


def test_a_body_that_does_not_come_is_given_up(address: tuple[str, int]) -> None:
    """408 and close; uvicorn alone would hold it open for ever."""
    received = exchange(address, head("content-length: 100"), b"half")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in received


def test_a_body_for_a_route_that_nobody_has_is_given_up_too(address: tuple[str, int]) -> None:
    """The 404 does not wait for it, but the connection would."""
    request = head("content-length: 100").replace(posts.PATH.encode(), b"/webhooks/no/body")
    assert exchange(address, request, b"half").startswith(b"HTTP/1.1 404 ")


def test_a_second_delivery_that_stops_midway_is_given_up(address: tuple[str, int]) -> None:
    """What a connection has done well before gives it no more time."""
    first = head("content-length: 0")
    received = exchange(address, first + head("content-length: 100") + b"half")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 408 " in received


def test_headers_that_do_not_come_to_an_end_are_given_up(address: tuple[str, int]) -> None:
    """The connection is closed."""
    assert exchange(address, b"POST / HTTP/1.1\r\nhost: web") == b""


def test_a_connection_that_never_says_a_word_is_given_up(address: tuple[str, int]) -> None:
    """It is closed as well."""
    assert exchange(address) == b""


def test_a_byte_now_and_then_does_not_stretch_the_deadline_for_headers(address: tuple[str, int]) -> None:
    """The deadline is for all of them together."""
    with socket.create_connection(address, timeout=30) as connection:
        given_up = False
        for byte in b"POST / HTTP/1.1\r\nx: " + b"y" * 100_000:
            try:
                connection.sendall(bytes([byte]))
                connection.settimeout(0.05)
                given_up = connection.recv(1) == b""
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                given_up = True
            if given_up:
                break
    assert given_up


def test_a_connection_is_good_for_many_deliveries(address: tuple[str, int], database: Engine) -> None:
    """Deadlines end requests that stall, not connections that are used."""
    keys = [posts.wamid() for _ in range(5)]
    with socket.create_connection(address, timeout=30) as connection:
        for key in keys:
            delivery = posts.delivery(posts.item(key))
            signature = posts.signed(delivery)["x-hub-signature-256"]
            connection.sendall(head(f"content-length: {len(delivery)}", f"x-hub-signature-256: {signature}") + delivery)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.2)
    assert set(posts.stored(database)) == set(keys)


def test_after_sigterm_deliveries_are_taken_and_told_that_the_connection_ends(
    web: server.Server, address: tuple[str, int]
) -> None:
    """On an old connection and on a new one: ended unsaid, it would take the next delivery with it."""
    delivery = posts.delivery(posts.item(posts.wamid()))
    signature = posts.signed(delivery)["x-hub-signature-256"]
    request = head(f"content-length: {len(delivery)}", f"x-hub-signature-256: {signature}") + delivery
    with socket.create_connection(address, timeout=30) as old:
        old.sendall(request)
        assert b"connection: close" not in old.recv(65536)
        web.handle_exit(signal.SIGTERM, None)
        old.sendall(request)
        answers = [old.recv(65536), exchange(address, request)]
        assert old.recv(65536) == b""
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


def test_a_chunked_body_that_grows_too_large_is_refused(address: tuple[str, int]) -> None:
    """413 without any Content-Length."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert exchange(address, head("transfer-encoding: chunked"), *[chunk] * 65).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        head("content-length: 4", "transfer-encoding: chunked") + b"0\r\n\r\n",
        head("content-length: 4", "content-length: 5") + b"abcd",
        head("transfer-encoding: xchunked") + b"0\r\n\r\n",
        head("content-length : 4") + b"abcd",
        head("transfer-encoding: chunked") + b"zz\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["two lengths", "length twice", "unknown coding", "space before colon", "bad chunk", "no HTTP"],
)
def test_requests_that_proxies_read_differently_are_refused(address: tuple[str, int], request_bytes: bytes) -> None:
    """Never a 200 on a request whose end is in doubt."""
    assert exchange(address, request_bytes)[:13] in {b"HTTP/1.1 400 ", b""}
