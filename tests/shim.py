"""A TCP proxy that a test puts before a server, and that can fail in the ways in which a network fails."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")
CHUNK = 64 * 1024
Target = tuple[str, int] | Path
"""A host and port, or the path of a Unix socket."""


@dataclass
class _Weather:
    """What happens to bytes now."""

    delay_s: float = 0.0
    bytes_per_s: float | None = None
    stalled: bool = False
    swallow_after: bytes | None = None


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallowing: bool = False
    """Whether the server's answers on this connection are dropped."""
    forgotten: bool = False
    """Whether nothing passes on this connection any more."""
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)


class Shim:
    """A proxy on a port of loopback. It passes everything on until a method changes that.

    Each method takes effect on open connections and on later ones, when it returns. `heal` ends every fault;
    bytes that were held back are then passed on.
    """

    def __init__(self, target: Target) -> None:
        """Listens on a free port and passes connections on to `target`."""
        self._target = target
        self._weather = _Weather()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shim", daemon=True)
        self._thread.start()
        self._changed = asyncio.Condition()
        self.accepted = 0
        """Connections that were accepted so far."""
        self.swallowed = 0
        """Connections whose answers were dropped after the bytes given to `swallow_answers_after`."""
        self.port = 0
        self._run(self._listen())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def open(self) -> int:
        """Returns the number of connections that are open now."""
        return len(self._connections)

    def delay(self, seconds: float) -> None:
        """Delivers all bytes this much later, in both directions. The throughput stays the same."""
        self._run(self._set(delay_s=seconds))

    def limit(self, bytes_per_s: float) -> None:
        """Passes on at most this many bytes per second, for each connection and direction."""
        self._run(self._set(bytes_per_s=bytes_per_s))

    def stall(self) -> None:
        """Passes nothing on, as a network that drops all packets. Connections are accepted and stay open."""
        self._run(self._set(stalled=True))

    def forget(self) -> None:
        """Passes nothing more on over connections that are open now, for good, and does not close them.

        A firewall that has forgotten a connection does the same. Later connections work.
        """
        self._run(self._forget())

    def refuse(self) -> None:
        """Resets every connection and refuses new ones, as a server that does not run."""
        self._run(self._refuse())

    def reset(self) -> int:
        """Resets every open connection. New ones are accepted. Returns how many were open."""
        return self._run(self._reset())

    def swallow_answers_after(self, request: bytes) -> None:
        """Resets a connection after the server has answered a request that contains these bytes.

        The answer does not reach the client. So the server has done what was asked, and the client cannot know it.
        """
        self._run(self._set(swallow_after=request))

    def heal(self) -> None:
        """Ends every fault. Open connections go on."""
        self._run(self._heal())

    def point_at(self, target: Target) -> None:
        """Passes later connections on to another server. Open ones stay."""
        self._target = target

    def close(self) -> None:
        """Resets every connection and stops the proxy."""
        if self._thread.is_alive():
            self._run(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    # -- on the loop

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, **changes: Any) -> None:
        async with self._changed:
            for name, value in changes.items():
                setattr(self._weather, name, value)
            self._changed.notify_all()

    async def _heal(self) -> None:
        await self._listen()
        await self._set(delay_s=0.0, bytes_per_s=None, stalled=False, swallow_after=None)

    async def _forget(self) -> None:
        async with self._changed:
            for connection in self._connections:
                connection.forgotten = True
            self._changed.notify_all()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _stop(self) -> None:
        await self._refuse()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next round of the loop

    async def _reset(self) -> int:
        connections = list(self._connections)
        for connection in connections:
            self._end(connection, reset=True)
        return len(connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if isinstance(self._target, Path):
                answers, server = await asyncio.open_unix_connection(str(self._target))
            else:
                answers, server = await asyncio.open_connection(*self._target)
        except OSError:
            _close(writer, reset=True)
            return
        connection = _Connection(writer, server)
        self._connections.add(connection)
        connection.tasks = [
            self._loop.create_task(self._pump(connection, reader, server, is_answer=False)),
            self._loop.create_task(self._pump(connection, answers, writer, is_answer=True)),
        ]

    def _end(self, connection: _Connection, *, reset: bool) -> None:
        self._connections.discard(connection)
        for task in connection.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        _close(connection.client, reset=reset)
        _close(connection.server, reset=reset)

    async def _pump(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        """Passes bytes on in one direction until a side closes or resets the connection."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        reading = self._loop.create_task(self._read(source, held))
        reset = False
        try:
            while True:
                arrived, data = await held.get()
                await self._pass(connection, arrived)
                if not data:
                    break
                if is_answer and connection.swallowing:
                    self.swallowed += 1
                    reset = True
                    break
                if not is_answer and self._weather.swallow_after and self._weather.swallow_after in data:
                    connection.swallowing = True
                await self._write(sink, data)
        except OSError:
            reset = True
        finally:
            reading.cancel()
            self._end(connection, reset=reset)

    async def _read(self, source: asyncio.StreamReader, held: "asyncio.Queue[tuple[float, bytes]]") -> None:
        data = b" "
        while data:
            try:
                data = await source.read(CHUNK)
            except OSError:
                data = b""
            await held.put((self._loop.time(), data))

    async def _pass(self, connection: _Connection, arrived: float) -> None:
        """Waits until bytes that arrived at that time may be passed on."""
        async with self._changed:
            while (
                (stopped := self._weather.stalled or connection.forgotten)
                or (left := arrived + self._weather.delay_s - self._loop.time()) > 0
            ):  # fmt: skip
                waiting = self._changed.wait()
                if stopped:
                    await waiting
                else:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(waiting, left)

    async def _write(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        rate = self._weather.bytes_per_s
        step = max(1, int(rate / 20)) if rate else len(data)
        for start in range(0, len(data), step):
            sink.write(data[start : start + step])
            await sink.drain()
            if rate:
                await asyncio.sleep(step / rate)


def _close(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if not reset:
        writer.close()
        return
    connected = writer.get_extra_info("socket")
    if connected is not None and connected.family == socket.AF_INET and connected.fileno() >= 0:
        # With a linger time of zero the kernel sends RST in place of FIN.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
