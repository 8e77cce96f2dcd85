"""Fixtures for tests of the Graph client.

One fixture is a client that gets the responses that a test chooses. Other fixtures are servers on loopback
that can fail.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from waypost.cloudapi.graph.client import Credentials, GraphClient

CREDENTIALS = Credentials("EAAtoken1234567890")
NUMBER = "106540352242922"
MESSAGE = {"messaging_product": "whatsapp", "to": "+16505551234", "type": "text", "text": {"body": "Hello"}}
ACCEPTED = {"contacts": [{"input": "+16505551234", "wa_id": "16505551234"}], "messages": [{"id": "wamid.abc"}]}

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Meta:
    """A simulated Meta that responds to every request with `answer` and records the requests."""

    def __init__(self) -> None:
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _request: httpx.Response(200, json=ACCEPTED)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def replies(self, status: int, body: object = None, *, headers: dict[str, str] | None = None) -> None:
        """Gives the same response to every request. `body` is JSON, or bytes that are sent unchanged."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        # A stream, because httpx would decompress plain content here instead of in the client.
        self.answer = lambda _request: httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)

    @property
    def last(self) -> httpx.Request:
        """Returns the newest request."""
        return self.requests[-1]

    @property
    def sent(self) -> object:
        """Returns the JSON of the newest request."""
        return json.loads(self.last.content)


@pytest.fixture
def meta() -> Meta:
    """Returns a simulated Meta whose responses a test chooses."""
    return Meta()


@pytest.fixture
async def graph(meta: Meta, anyio_backend: str) -> AsyncIterator[GraphClient]:
    """Yields a client whose requests all go to `meta`."""
    async with GraphClient("https://graph.facebook.com", "v26.0", transport=httpx.MockTransport(meta)) as client:
        yield client


class Sockets:
    """Servers on loopback whose connections are handled by a given function."""

    def __init__(self) -> None:
        self.connections = 0
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self, handler: Handler) -> str:
        """Starts a server and returns its base URL."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            self._writers.append(writer)
            self._tasks.add(asyncio.ensure_future(self._handled(handler, reader, writer)))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _handled(self, handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.close()

    async def close(self) -> None:
        """Stops all servers and drops their connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            server.close()
        for writer in self._writers:
            # A task that is cancelled before its first step closes nothing.
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def sockets(anyio_backend: str) -> AsyncIterator[Sockets]:
    """Yields servers that are stopped after the test."""
    servers = Sockets()
    yield servers
    await servers.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Reads one whole HTTP request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return head + await reader.readexactly(length)


def response(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """Returns a whole HTTP response. `headers` are lines that end in CRLF."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes the connection with RST instead of FIN."""
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
