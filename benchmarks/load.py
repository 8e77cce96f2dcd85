"""Sends deliveries over HTTP from one event loop, as fast as they are accepted or at a fixed rate.

The fixed rate does not depend on the answers. For figures of a web server alone, `wrk` is enough and costs
the machine less. Unlike `wrk`, this module knows when each delivery began.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Self

from benchmarks import deliveries
from benchmarks.deliveries import Delivery


class Connection:
    """One HTTP/1.1 connection of minimal cost. If the server closes it, it is opened again.

    Flask's server closes the connection after each request.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    async def post(self, request: bytes) -> int:
        """Sends one request and returns the status. Raises `OSError` when the connection breaks."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length or 0))
        if b"connection: close" in head or head.startswith(b"http/1.0"):
            self._writer.close()
            self._writer = None
        return int(head.split(b" ", 2)[1])


async def saturate(port: int, given: Sequence[Delivery], connections: int = 32) -> dict[str, float]:
    """Sends all deliveries, one after the other on each connection. Returns the time at which each one began.

    Raises `OSError` if an answer is not 200.
    """
    began: dict[str, float] = {}
    waiting = iter(given)

    async def deliver_in_turn() -> None:
        async with Connection(port) as connection:
            for delivery in waiting:
                await _deliver(connection, delivery, began)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(deliver_in_turn())
    return began


async def pace(port: int, given: Sequence[Delivery], per_second: float) -> dict[str, float]:
    """Sends deliveries at a fixed rate, even if earlier deliveries are not answered yet.

    Returns the time at which each delivery was due to begin. If a delivery begins late because the machine is
    busy, its time still counts from the moment when it was due. The delay is then part of the figure.
    """
    began: dict[str, float] = {}
    idle: list[Connection] = []
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.1

    async def deliver(delivery: Delivery, due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        await _deliver(connection, delivery, began)
        began[delivery.identity] = due
        idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for place, delivery in enumerate(given):
            due = start + place / per_second
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(deliver(delivery, due))
    for connection in idle:
        await connection.__aexit__()
    return began


async def _deliver(connection: Connection, delivery: Delivery, began: dict[str, float]) -> None:
    began[delivery.identity] = time.monotonic()
    status = await connection.post(deliveries.request(delivery))
    if status != 200:
        raise ConnectionError(f"a delivery was answered with {status}")
