"""The Graph client works over real sockets. The tests show which failures leave the outcome of a send unknown.

They also show how connections are reused. The client's promise depends on what httpx does with a broken
connection, so nothing is simulated here.
"""

import asyncio
import gzip
import json

import pytest

from waypost.cloudapi.graph.client import File, GraphClient
from waypost.cloudapi.graph.errors import GraphOutcomeUnknown, GraphUnreachable

from .conftest import ACCEPTED, CREDENTIALS, MESSAGE, NUMBER, Sockets, read_request, reset, response

pytestmark = pytest.mark.anyio

DEADLINE_S = 3.0
"""Deadline of a call that must run out after the request was sent: long enough for a busy machine to send it."""


def client_of(url: str, *, timeout_s: float = 20, connections: int = 10) -> GraphClient:
    """Returns a client that uses the real network."""
    return GraphClient(url, "v26.0", timeout_s=timeout_s, connections=connections)


async def test_a_refused_connection_is_unreachable(sockets: Sockets) -> None:
    """If the connection is refused, the call is reported as unreachable.

    No server listens, so nothing can have been sent.
    """
    url = await sockets.listen(lambda _reader, _writer: asyncio.sleep(0))
    await sockets.close()
    async with client_of(url) as graph:
        with pytest.raises(GraphUnreachable):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)


async def test_a_tls_handshake_that_never_ends_is_unreachable(sockets: Sockets) -> None:
    """If a TLS handshake never ends, the call is reported as unreachable.

    The deadline passes before any byte of the request is sent.
    """

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    url = await sockets.listen(silent)
    async with client_of(url.replace("http:", "https:"), timeout_s=0.3) as graph:
        with pytest.raises(GraphUnreachable):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)


async def test_a_half_open_connection_leaves_the_outcome_unknown(sockets: Sockets) -> None:
    """On a half-open connection, the outcome of a send is unknown.

    The request was read but never answered, so it may have been processed.
    """

    async def half_open(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()

    async with client_of(await sockets.listen(half_open), timeout_s=DEADLINE_S) as graph:
        with pytest.raises(GraphOutcomeUnknown):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)


async def test_a_reset_after_the_request_leaves_the_outcome_unknown(sockets: Sockets) -> None:
    """A reset after the request leaves the outcome of a send unknown.

    Here, the server is killed after it accepted the request and before it responded.
    """

    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        reset(writer)

    async with client_of(await sockets.listen(resetting)) as graph:
        with pytest.raises(GraphOutcomeUnknown):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_truncated_response_leaves_the_outcome_unknown(sockets: Sockets, answer: bytes) -> None:
    """A truncated or garbled response leaves the outcome of a send unknown.

    The client cannot see from such a response what Meta did.
    """

    async def breaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    async with client_of(await sockets.listen(breaking)) as graph:
        with pytest.raises(GraphOutcomeUnknown):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)


async def test_a_slow_response_is_stopped_by_the_total_deadline(sockets: Sockets) -> None:
    """The total deadline stops a response that never ends, even if each byte arrives in time.

    A read timeout alone would never stop it.
    """

    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with client_of(await sockets.listen(dripping), timeout_s=DEADLINE_S) as graph:
        with pytest.raises(GraphOutcomeUnknown):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)


async def test_a_call_that_found_no_free_connection_is_unreachable(sockets: Sockets) -> None:
    """A call that found no free connection is reported as unreachable.

    The call waited for a connection the whole time, so it never started.
    """

    begun = asyncio.Event()

    async def half_open(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        begun.set()
        await reader.read()

    async with client_of(await sockets.listen(half_open), timeout_s=0.5, connections=1) as graph:
        # An upload may take minutes, so it holds the only connection for as long as the send waits.
        upload = asyncio.create_task(graph.upload_media(CREDENTIALS, NUMBER, File("a.txt", b"words", "text/plain")))
        await begun.wait()
        with pytest.raises(GraphUnreachable):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload


async def test_a_cancelled_call_frees_its_connection(sockets: Sockets) -> None:
    """When a call is cancelled, its half-used connection is closed. Another call can then start."""
    first_waits = asyncio.Event()

    async def slow_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if not first_waits.is_set():
            first_waits.set()
            await reader.read()
        writer.write(response(json.dumps(ACCEPTED).encode()))
        await writer.drain()

    async with client_of(await sockets.listen(slow_once), connections=1) as graph:
        call = asyncio.ensure_future(graph.send(CREDENTIALS, NUMBER, MESSAGE))
        await first_waits.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await graph.send(CREDENTIALS, NUMBER, MESSAGE)).wamid == "wamid.abc"


async def test_many_calls_share_few_connections(sockets: Sockets) -> None:
    """Many calls share few connections. Waiting calls are sent as connections become free."""

    async def keeping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(json.dumps(ACCEPTED).encode()))

    async with client_of(await sockets.listen(keeping), connections=3) as graph:
        await asyncio.gather(*(graph.send(CREDENTIALS, NUMBER, MESSAGE) for _ in range(30)))
    assert sockets.connections <= 3


async def test_connections_are_reused(sockets: Sockets) -> None:
    """Connections are reused. A TLS handshake for each message would double the time of a send."""

    async def keeping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(json.dumps(ACCEPTED).encode()))

    async with client_of(await sockets.listen(keeping)) as graph:
        for _ in range(5):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert sockets.connections == 1


async def test_an_idle_connection_that_meta_closed_costs_no_send(sockets: Sockets) -> None:
    """A send succeeds if Meta has closed the idle connection.

    The client notices that the connection is closed before it uses it. It then opens another one.
    """
    closed = asyncio.Event()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(json.dumps(ACCEPTED).encode()))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with client_of(await sockets.listen(closing)) as graph:
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)
        await closed.wait()
        accepted = await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert accepted.wamid == "wamid.abc"


async def test_a_compressed_response_is_read(sockets: Sockets) -> None:
    """A response that is compressed with gzip is read. Pages of templates come as gzip."""
    body = gzip.compress(json.dumps(ACCEPTED).encode())

    async def compressing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(body, headers="Content-Encoding: gzip\r\n"))
        await writer.drain()

    async with client_of(await sockets.listen(compressing)) as graph:
        assert (await graph.send(CREDENTIALS, NUMBER, MESSAGE)).wamid == "wamid.abc"


@pytest.mark.parametrize(
    "answer",
    [
        response(b" " * (1024 * 1024 + 1) + json.dumps(ACCEPTED).encode()),
        response(
            gzip.compress(b" " * (64 * 1024 * 1024) + json.dumps(ACCEPTED).encode()),
            headers="Content-Encoding: gzip\r\n",
        ),
        response(gzip.compress(json.dumps(ACCEPTED).encode())[:-9], headers="Content-Encoding: gzip\r\n"),
        response(json.dumps(ACCEPTED).encode(), headers="Content-Encoding: gzip\r\n"),
        response(json.dumps(ACCEPTED).encode(), headers="Content-Encoding: br\r\n"),
    ],
    ids=["longer than 1 MB", "a gzip bomb", "cut gzip", "gzip that is not", "an encoding that was not requested"],
)
async def test_a_response_that_is_too_long_or_garbled_is_not_accepted(sockets: Sockets, answer: bytes) -> None:
    """A response that is too long or garbled is not accepted.

    Reading stops at 1 MB after decompression. The outcome of the send stays unknown.
    """

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    async with client_of(await sockets.listen(answering)) as graph:
        with pytest.raises(GraphOutcomeUnknown, match="unreadable body"):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)


async def test_an_endless_response_is_stopped(sockets: Sockets) -> None:
    """The client stops an endless response. It closes the connection, so that the server notices.

    The client does not read the rest of the response.
    """
    noticed = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            noticed.set()

    async with client_of(await sockets.listen(endless)) as graph:
        with pytest.raises(GraphOutcomeUnknown):
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)
        await asyncio.wait_for(noticed.wait(), 30)


@pytest.mark.parametrize(
    "unasked",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        response(json.dumps({"messages": [{"id": "wamid.of another"}]}).encode()),
        b"x",
        b"\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("is_late", [False, True], ids=["with the answer", "later"])
async def test_an_unasked_answer_is_discarded_with_its_connection(
    sockets: Sockets, unasked: bytes, is_late: bool
) -> None:
    """Bytes that no request asked for are never taken for the answer to the next call. Their connection is closed."""
    written = asyncio.Event()
    ids = iter(["first", "second", "third"])

    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            answer = response(json.dumps({"messages": [{"id": next(ids)}]}).encode())
            writer.write(answer if is_late else answer + unasked)
            await writer.drain()
            if is_late:
                await asyncio.sleep(0.01)
                writer.write(unasked)
                await writer.drain()
            written.set()

    async with client_of(await sockets.listen(chatty)) as graph:
        for wamid in ("first", "second", "third"):
            assert (await graph.send(CREDENTIALS, NUMBER, MESSAGE)).wamid == wamid
            await written.wait()
            written.clear()
    assert sockets.connections == 3


async def test_a_cancelled_tls_handshake_leaves_no_socket_open(sockets: Sockets) -> None:
    """If a call is cancelled during its TLS handshake, its socket is closed at once and not at some later time."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        begun.set()
        await reader.read()
        ended.set()

    url = await sockets.listen(silent)
    async with client_of(url.replace("http:", "https:")) as graph:
        call = asyncio.ensure_future(graph.send(CREDENTIALS, NUMBER, MESSAGE))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(ended.wait(), 30)
