"""Tests of the proxy that injects the faults of a network. Tests that use it prove nothing if it does not fail."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ..shim import Shim, Target

Shims = Callable[[Target], Shim]


@pytest.fixture
def echo() -> Iterator[Target]:
    """Yields the address of a server that repeats what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(ConnectionError):
                while data := connection.recv(4096):
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def _connect(shim: Shim) -> socket.socket:
    return socket.create_connection(("127.0.0.1", shim.port), timeout=10)


def test_it_passes_bytes_on_until_it_is_made_to_fail(shim: Shims, echo: Target) -> None:
    """Without a fault, the proxy passes bytes on in both directions."""
    proxy = shim(echo)
    with _connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"
    assert proxy.accepted == 1


def test_a_delay_holds_for_both_directions(shim: Shims, echo: Target) -> None:
    """An answer comes back no earlier than after twice the delay."""
    proxy = shim(echo)
    with _connect(proxy) as client:
        proxy.delay(0.2)
        began = time.monotonic()
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"
    assert time.monotonic() - began >= 0.4


def test_a_stalled_connection_is_open_and_goes_on_when_it_is_healed(shim: Shims, echo: Target) -> None:
    """A stalled proxy accepts connections and bytes but passes nothing on. After `heal` the held bytes arrive."""
    proxy = shim(echo)
    proxy.stall()
    with _connect(proxy) as client:
        client.sendall(b"hello")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(16)
        proxy.heal()
        client.settimeout(10)
        assert client.recv(16) == b"hello"


def test_a_limit_bounds_the_rate(shim: Shims, echo: Target) -> None:
    """4,000 bytes take at least some tenths of a second at 10,000 bytes per second."""
    proxy = shim(echo)
    proxy.limit(10_000)
    with _connect(proxy) as client:
        began = time.monotonic()
        client.sendall(b"x" * 4000)
        received = 0
        while received < 4000:
            received += len(client.recv(4096))
    assert time.monotonic() - began >= 0.3


def test_a_reset_ends_open_connections_and_accepts_new_ones(shim: Shims, echo: Target) -> None:
    """After a reset, an open connection gets RST, and a new one works."""
    proxy = shim(echo)
    with _connect(proxy) as client:
        client.sendall(b"hello")
        client.recv(16)
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(16)
    with _connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"


def test_refused_connections_work_again_on_the_same_port(shim: Shims, echo: Target) -> None:
    """While the proxy refuses, nothing listens. After `heal` it listens on the same port."""
    proxy = shim(echo)
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    proxy.heal()
    with _connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"


def test_an_answer_is_swallowed_after_the_request_reached_the_server(shim: Shims, echo: Target) -> None:
    """The server gets the request and answers it, but the client gets a reset in place of the answer."""
    proxy = shim(echo)
    proxy.swallow_answers_after(b"COMMIT")
    with _connect(proxy) as client:
        client.sendall(b"SELECT")
        assert client.recv(16) == b"SELECT"
        client.sendall(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            client.recv(16)
    assert proxy.swallowed == 1


def test_a_server_that_does_not_listen_resets_the_connection(shim: Shims, free_port: Callable[[], int]) -> None:
    """If the server behind the proxy does not run, a connection is reset."""
    proxy = shim(("127.0.0.1", free_port()))
    with _connect(proxy) as client, pytest.raises(ConnectionResetError):
        client.recv(16)


def test_a_forgotten_connection_stays_silent_and_later_ones_work(shim: Shims, echo: Target) -> None:
    """After `forget`, nothing arrives over an open connection, which stays open. A new connection works."""
    proxy = shim(echo)
    with _connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(16) == b"hello"
        proxy.forget()
        client.sendall(b"again")
        with _connect(proxy) as later:
            later.sendall(b"hello")
            assert later.recv(16) == b"hello"
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(16)
