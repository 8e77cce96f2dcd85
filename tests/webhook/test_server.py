"""Tests the server under the application: deadlines for incomplete requests, and what HTTP forbids."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.routing import Router
from uvicorn.server import ServerState

from waypost.contracts import registry
from waypost.webhook import app, server
from waypost.webhook.directory import Directory
from waypost.webhook.intake import Intake

from ..manual_loop import ManualLoop
from . import posts
from .service import NEVER_S

SHORT_S = 0.5
"""A deadline that a test waits for. It may also pass before a busy machine has sent anything, so a test that waits for
one deadline runs on a server whose other one is never reached."""


@pytest.fixture
def serve(
    database: Engine, registry_dir: Path, wait_for: Callable[..., object]
) -> Iterator[Callable[[server.Deadlines], server.Server]]:
    """Yields a function that starts the webhook in a thread, on a real socket. A drain takes longer than any test."""
    started: list[tuple[server.Server, threading.Thread]] = []

    def start(deadlines: server.Deadlines) -> server.Server:
        intake = Intake(database, on_committed=lambda _lanes: None, wait_s=NEVER_S)
        application = app.create(Directory(registry.routes(registry_dir)), intake)
        configuration = server.Config(application, host="127.0.0.1", port=0, deadlines=deadlines)
        web = server.Server(configuration, on_end=lambda: None, drain_s=NEVER_S)
        thread = threading.Thread(target=web.run)
        thread.start()
        started.append((web, thread))
        wait_for(lambda: web.started)
        return web

    yield start
    for web, thread in started:
        web.should_exit = True
        thread.join()


Serve = Callable[[server.Deadlines], server.Server]
Address = tuple[str, int]


def address_of(web: server.Server) -> Address:
    """Returns the address at which the server listens."""
    host, port = web.servers[0].sockets[0].getsockname()
    return (host, port)


@pytest.fixture
def web(serve: Serve) -> server.Server:
    """Starts a webhook whose deadlines no test reaches."""
    return serve(server.Deadlines(headers_s=NEVER_S, body_s=NEVER_S))


@pytest.fixture
def address(web: server.Server) -> Address:
    """Returns the address of a webhook without short deadlines."""
    return address_of(web)


@pytest.fixture
def short_for_headers(serve: Serve) -> Address:
    """Returns the address of a webhook with a short deadline for headers."""
    return address_of(serve(server.Deadlines(headers_s=SHORT_S, body_s=NEVER_S)))


@pytest.fixture
def short_for_bodies(serve: Serve) -> Address:
    """Returns the address of a webhook with a short deadline for bodies."""
    return address_of(serve(server.Deadlines(headers_s=NEVER_S, body_s=SHORT_S)))


def exchange(address: Address, *parts: bytes) -> bytes:
    """Sends the parts, and returns what arrives until the server closes the connection."""
    received = b""
    with socket.create_connection(address, timeout=NEVER_S) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


def request_head(*lines: str) -> bytes:
    """Returns the request line and headers of a delivery."""
    return "\r\n".join([f"POST {posts.PATH} HTTP/1.1", "host: webhook", *lines, "", ""]).encode()


def whole_delivery(key: str) -> bytes:
    """Returns a signed delivery of one message, including its headers."""
    delivery = posts.delivery(posts.item(key))
    signature = posts.signed(delivery)["x-hub-signature-256"]
    return request_head(f"content-length: {len(delivery)}", f"x-hub-signature-256: {signature}") + delivery


def test_a_body_that_does_not_arrive_is_answered_408(short_for_bodies: Address) -> None:
    """If a body does not arrive, the answer is 408 and the connection is closed.

    uvicorn alone would keep the connection open for ever.
    """
    received = exchange(short_for_bodies, request_head("content-length: 100") + b"half")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in received


def test_a_connection_whose_body_an_unknown_route_does_not_read_is_closed(short_for_bodies: Address) -> None:
    """An unknown route gets 404 before its body has arrived. Then the connection is closed.

    Without a deadline, the connection would wait for the body.
    """
    request = request_head("content-length: 100").replace(posts.PATH.encode(), b"/webhooks/no/body")
    assert exchange(short_for_bodies, request + b"half").startswith(b"HTTP/1.1 404 ")


def test_a_second_delivery_that_stops_midway_is_answered_408(short_for_bodies: Address) -> None:
    """If the second delivery on a connection stops midway, the answer is 408.

    A complete request does not give the next one on its connection more time.
    """
    first = request_head("content-length: 0")
    received = exchange(short_for_bodies, first + request_head("content-length: 100") + b"half")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"HTTP/1.1 408 " in received


def test_headers_that_are_never_complete_close_the_connection(short_for_headers: Address) -> None:
    """If the headers are never complete, the connection is closed without an answer, as there is no request."""
    assert exchange(short_for_headers, b"POST / HTTP/1.1\r\nhost: web") == b""


def test_a_connection_that_sends_nothing_is_closed(short_for_headers: Address) -> None:
    """A connection that sends nothing is closed, because the deadline for headers starts with the connection."""
    assert exchange(short_for_headers) == b""


def test_single_bytes_do_not_extend_the_deadline_for_headers(short_for_headers: Address) -> None:
    """Single bytes do not extend the deadline for headers, because it applies to all headers together."""
    with socket.create_connection(short_for_headers, timeout=NEVER_S) as connection:
        closed = False
        for byte in b"POST / HTTP/1.1\r\nx: " + b"y" * 100_000:
            try:
                connection.sendall(bytes([byte]))
                connection.settimeout(0.05)
                closed = connection.recv(1) == b""
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                closed = True
            if closed:
                break
    assert closed


async def exchange_with_pauses(loop: ManualLoop, application: Router, requests: list[bytes], pause_s: float) -> None:
    """Sends requests over one connection and moves the clock after each. Each request must be answered with 200."""
    configuration = server.Config(application, host="127.0.0.1", port=0)
    configuration.load()
    configuration.timeout_keep_alive = NEVER_S * 100
    configuration.deadlines = server.Deadlines(headers_s=pause_s / 2, body_s=pause_s / 2)
    state = ServerState()
    async with application.lifespan_context(application):
        listening = await loop.create_server(
            lambda: server.Protocol(config=configuration, server_state=state, app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        for request in requests:
            writer.write(request)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            loop.advance(pause_s)
        writer.close()
        await writer.wait_closed()
        listening.close()
        await listening.wait_closed()


def test_a_connection_is_good_for_many_deliveries(database: Engine, registry_dir: Path) -> None:
    """A connection can be used for many deliveries, for longer than any deadline.

    Deadlines end only requests that stall.
    """
    keys = [posts.wamid() for _ in range(5)]
    intake = Intake(database, on_committed=lambda _lanes: None, wait_s=NEVER_S)
    application = app.create(Directory(registry.routes(registry_dir)), intake)
    with asyncio.Runner(loop_factory=ManualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ManualLoop)
        runner.run(exchange_with_pauses(loop, application, [whole_delivery(key) for key in keys], 2 * NEVER_S))
    assert set(posts.stored(database)) == set(keys)


def test_after_sigterm_answers_announce_that_the_connection_closes(web: server.Server, address: Address) -> None:
    """After SIGTERM each answer has the header `connection: close`, on old and on new connections.

    If the server closed a connection without this notice, the next delivery would be lost.
    """
    request = whole_delivery(posts.wamid())
    with socket.create_connection(address, timeout=NEVER_S) as old:
        old.sendall(request)
        assert b"connection: close" not in old.recv(65536)
        web.handle_exit(signal.SIGTERM, None)
        old.sendall(request)
        answers = [old.recv(65536), exchange(address, request)]
        assert old.recv(65536) == b""
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


def test_a_chunked_body_that_grows_too_large_is_refused(address: Address) -> None:
    """A chunked body that grows too large gets 413, although it has no Content-Length."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = request_head("transfer-encoding: chunked")
    assert exchange(address, head, *[chunk] * 65).startswith(b"HTTP/1.1 413 ")


class Unread:
    """A client that reads no answer. Hardly any bytes fit between the server and the client."""

    def __init__(self, web: server.Server, wait_for: Callable[..., object]) -> None:
        self.web = web
        self._wait_for = wait_for
        listening = web.servers[0].sockets[0]
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.connection.settimeout(NEVER_S)
        self.connection.connect(address_of(web))
        wait_for(lambda: web.server_state.connections)

    def is_closed(self) -> bool:
        """Returns whether the server has closed the connection."""
        return not self.web.server_state.connections

    def ask(self, *lines: str) -> None:
        """Sends a handshake, and waits until its answer is written or the connection is closed."""
        answered = self.web.server_state.total_requests
        target = f"{posts.PATH}?hub.mode=subscribe&hub.verify_token={posts.TOKEN}&hub.challenge={'1' * 1_000}"
        request = "\r\n".join([f"GET {target} HTTP/1.1", "host: webhook", *lines, "", ""])
        try:
            self.connection.sendall(request.encode())
        except (ConnectionResetError, BrokenPipeError):
            return
        self._wait_for(lambda: self.is_closed() or self.web.server_state.total_requests > answered, deadline_s=30)


@pytest.fixture
def unread(web: server.Server, wait_for: Callable[..., object]) -> Iterator[Unread]:
    """Yields a client that reads no answer."""
    client = Unread(web, wait_for)
    with client.connection:
        yield client


def test_a_client_that_reads_no_answers_is_closed(unread: Unread) -> None:
    """When a client leaves its answers unread, the connection is closed and holds no memory.

    uvicorn alone would wait for ever until the client reads.
    """
    for _ in range(100):
        unread.ask()
        if unread.is_closed():
            break
    assert unread.is_closed()
    configuration = unread.web.config
    assert isinstance(configuration, server.Config)
    assert configuration.room.used == 0


def test_the_last_answer_is_not_kept_for_ever(serve: Serve, wait_for: Callable[..., object]) -> None:
    """If a client does not take the last answer of a connection, the connection is closed after a while."""
    unread = Unread(serve(server.Deadlines(headers_s=NEVER_S, body_s=NEVER_S, unread_s=SHORT_S)), wait_for)
    with unread.connection:
        (protocol,) = unread.web.server_state.connections
        while not protocol.transport.get_write_buffer_size():
            unread.ask()
        assert not unread.is_closed()
        unread.ask("connection: close")
        wait_for(unread.is_closed, deadline_s=30)


def test_a_refused_request_that_expects_a_go_ahead(address: Address, caplog: pytest.LogCaptureFixture) -> None:
    """A request that waits for "100 Continue" gets it before its answer, and never after a refusal."""
    expecting = "expect: 100-continue"
    with socket.create_connection(address, timeout=NEVER_S) as connection:
        connection.sendall(request_head("content-length: 2", expecting))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    received = exchange(address, request_head("transfer-encoding: chunked", expecting) + b"zz\r\n")
    assert (received[:13], received.count(b"HTTP/1.1")) == (b"HTTP/1.1 400 ", 1)
    assert not caplog.records


def test_trailers_are_no_headers(address: Address) -> None:
    """A trailer never counts as a header of its request: a signature in a trailer signs nothing."""
    body = posts.delivery(posts.item(posts.wamid()))
    signature = posts.signed(body)["x-hub-signature-256"]
    chunks = b"%x\r\n%b\r\n0\r\nx-hub-signature-256: %b\r\n\r\n" % (len(body), body, signature.encode())
    received = exchange(address, request_head("transfer-encoding: chunked", "connection: close") + chunks)
    assert received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("line", ["GET /" + "a" * 9_000, "GET / HTTP/1.1\r\nx: " + "b" * 40_000])
def test_a_head_behind_a_body_is_bounded(address: Address, line: str) -> None:
    """A head that arrives in one piece with the end of a body is bounded like any other, and is not answered."""
    line += " HTTP/1.1" if "HTTP" not in line else ""
    request = request_head("content-length: 10000") + b"a" * 5_000
    rest = b"a" * 5_000 + f"{line}\r\nhost: a\r\n\r\n".encode()
    assert b"HTTP/1.1 404 " not in exchange(address, request, rest)


@pytest.mark.parametrize(
    "request_bytes",
    [
        request_head("content-length: 4", "transfer-encoding: chunked") + b"0\r\n\r\n",
        request_head("content-length: 4", "content-length: 5") + b"abcd",
        request_head("transfer-encoding: xchunked") + b"0\r\n\r\n",
        request_head("content-length : 4") + b"abcd",
        request_head("transfer-encoding: chunked") + b"zz\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=["two lengths", "length twice", "unknown coding", "space before colon", "bad chunk", "no HTTP"],
)
def test_requests_that_proxies_read_differently_are_refused(address: Address, request_bytes: bytes) -> None:
    """Requests that proxies read differently are refused: a request whose end is in doubt never gets a 200."""
    assert exchange(address, request_bytes)[:13] in {b"HTTP/1.1 400 ", b""}
