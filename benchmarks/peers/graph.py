"""Implements the part of the Graph API that a reply needs.

It accepts a message, answers after 100 ms, and records the time of the answer. On request, it also reports
each message as sent, delivered and read to a webhook, with one delivery for each status.
"""

import asyncio
import os
import time
from typing import Any

import msgspec
import uvicorn

DELAY_S = 0.1
HANGING = "1666"
"""Calls for contacts whose numbers begin with this hang."""
HANGS_S = 20.0
STATUS_CONNECTIONS = 16


class Graph:
    """The ASGI application that stands in for the Graph API."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.answered = 0
        self.statuses: asyncio.Queue[tuple[str, str, str, str | None]] = asyncio.Queue()
        self.reporting: list[asyncio.Task[None]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answers `POST …/messages`, and the requests of the benchmark itself.

        `/answered` returns how many messages were answered. `/taken` returns the messages. `/report/<port>` begins
        reports of statuses. `/forget` removes the messages.
        """
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path = scope["path"]
        if path.endswith("/messages"):
            answer = await self._take(body)
        elif path == "/taken":
            answer = msgspec.json.encode(self.taken)
        elif path == "/answered":
            answer = str(self.answered).encode()
        elif path.startswith("/report/"):
            self._report(int(path.removeprefix("/report/")))
            answer = b"{}"
        else:
            self.taken.clear()
            self.answered = 0
            answer = b"{}"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _take(self, body: bytes) -> bytes:
        message = msgspec.json.decode(body)
        record = {"text": message["text"]["body"], "to": message["to"], "arrived": time.monotonic()}
        # Waypost's own mark of a message, by which its reply is found in the database.
        record["correlation"] = message.get("biz_opaque_callback_data")
        place = len(self.taken)
        self.taken.append(record)
        await asyncio.sleep(HANGS_S if message["to"].lstrip("+").startswith(HANGING) else DELAY_S)
        record["answered"] = time.monotonic()
        self.answered += 1
        wamid = f"wamid.HBgLgraph{os.getpid():08}{int(record['arrived'] * 1e6):016}{place:08}AA"
        for state in ("sent", "delivered", "read") if self.reporting else ():
            self.statuses.put_nowait((wamid, message["to"].lstrip("+"), state, message.get("biz_opaque_callback_data")))
        return msgspec.json.encode(
            {
                "messaging_product": "whatsapp",
                "contacts": [{"input": message["to"], "wa_id": message["to"].lstrip("+")}],
                "messages": [{"id": wamid}],
            }
        )

    def _report(self, port: int) -> None:
        for task in self.reporting:
            task.cancel()
        self.reporting = []
        if port:
            self.reporting = [asyncio.create_task(self._post_statuses(port)) for _ in range(STATUS_CONNECTIONS)]

    async def _post_statuses(self, port: int) -> None:
        # Only this mode signs deliveries, and only it needs Waypost's own code.
        from benchmarks import deliveries, load  # noqa: PLC0415

        async with load.Connection(port) as connection:
            while True:
                wamid, contact, state, callback_data = await self.statuses.get()
                delivery = deliveries.status(wamid, contact, state, callback_data)
                if await connection.post(deliveries.request(delivery)) != 200:
                    raise ConnectionError("a status was not taken")


if __name__ == "__main__":
    uvicorn.run(
        Graph(),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # Longer than any client: a connection that closes as it is used costs a send whose outcome is unknown.
        timeout_keep_alive=75,
    )
