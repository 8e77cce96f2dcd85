"""A proxy on loopback that stands before a small Meta, and that can refuse, cut, hang or answer garbage."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable

PAGE = b"<html><title>Blocked</title><p>Your request was blocked by policy.</p></html>"

Behaviour = Callable[["Gateway", asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[bool]]
"""Handles one request, whose head and body are given. Returns whether the connection is kept."""


def page(status: int, reason: str = "Refused", *, body: bytes = PAGE, headers: str = "") -> Behaviour:
    """Returns a behaviour that answers with this status and a page, as proxies and firewalls do."""

    async def answer(_it: "Gateway", _reader: object, writer: asyncio.StreamWriter, _request: bytes) -> bool:
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return True

    return answer


def raw(answer: bytes) -> Behaviour:
    """Returns a behaviour that writes these bytes and closes the connection."""

    async def write(_it: "Gateway", _reader: object, writer: asyncio.StreamWriter, _request: bytes) -> bool:
        writer.write(answer)
        await writer.drain()
        return False

    return write


async def hang(_it: "Gateway", reader: asyncio.StreamReader, _writer: object, _request: bytes) -> bool:
    """Reads the request and never answers."""
    await reader.read()
    return False


async def drip(_it: "Gateway", _reader: object, writer: asyncio.StreamWriter, _request: bytes) -> bool:
    """Answers with one byte after the other, and never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def accept(it: "Gateway", _reader: object, writer: asyncio.StreamWriter, request: bytes) -> bool:
    """Answers as Meta does for a message, and counts the message as accepted."""
    payload = json.loads(request.partition(b"\r\n\r\n")[2])
    it.accepted[payload["text"]["body"]] += 1
    to = payload["to"]
    body = json.dumps(
        {"contacts": [{"input": to, "wa_id": to.lstrip("+")}], "messages": [{"id": f"wamid.{it.accepted.total()}"}]}
    ).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    return True


class Gateway:
    """A server that handles each request by its current `behaviour`. Start it with `async with`.

    It serves requests to itself and requests to a proxy, also CONNECT.
    """

    def __init__(self) -> None:
        self.behaviour: Behaviour = accept
        self.accepted: Counter[str] = Counter()
        """How often each text was accepted."""
        self.requests: list[bytes] = []
        """All requests, with head and body."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Returns the address of the server."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Gateway":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Starts to listen, on the same port as before."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._server = await asyncio.start_server(connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops to listen and drops all connections. New connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                is_kept = True
                while is_kept:
                    request = await _request(reader)
                    self.requests.append(request)
                    is_kept = await self.behaviour(self, reader, writer, request)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)
