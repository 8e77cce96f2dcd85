"""A driver of a simulator in process, and the callback server that it delivers to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from waypost.simulator.world.config import SimulatorConfig

APP, SECRET, WABA, NUMBER, TOKEN = "1001", "s3cret", "2001", "3001", "EAAtoken"
USER = "+393331112223"
DEADLINE_S = 60.0
FAST = SimulatorConfig(
    sent_after_s=0.0,
    delivered_after_s=0.001,
    read_after_s=0.002,
    status_tick_s=0.001,
    retry_delays_s=(0.0, 0.005),
    template_review_s=0.0,
    verification_timeout_s=DEADLINE_S,
)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that the event loop will make true; fails after a generous deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the condition may be of a thread or another process
            await asyncio.sleep(0.002)


class CallbackServer:
    """What Meta calls. Keeps every POST; answers with the next of `answers`, then 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.signatures: list[str | None] = []
        self.paths: list[str] = []
        self.challenges: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.gate: asyncio.Event | None = None
        self.on_challenge: Callable[[Request], Awaitable[Response]] | None = None
        self.url = ""

    async def handle(self, request: Request) -> Response:
        if request.method == "GET":
            self.challenges.append(dict(request.query_params))
            if self.on_challenge is not None:
                return await self.on_challenge(request)
            return Response(request.query_params["hub.challenge"])
        body = await request.body()
        if self.gate is not None:
            await self.gate.wait()
        self.bodies.append(body)
        self.signatures.append(request.headers.get("x-hub-signature-256"))
        self.paths.append(request.url.path)
        return Response(status_code=self.answers.pop(0) if self.answers else 200)

    def items(self, part: str) -> list[dict[str, Any]]:
        """All `messages` or `statuses` received, in order of arrival."""
        return [item for body in self.bodies for value in values(body) for item in value.get(part, [])]

    def statuses_of(self, wamid: str) -> list[str]:
        return [item["status"] for item in self.items("statuses") if item["id"] == wamid]


def values(body: bytes) -> list[dict[str, Any]]:
    """Every `value` of a webhook body."""
    return [change["value"] for entry in msgspec.json.decode(body)["entry"] for change in entry["changes"]]


class LoopbackServer:
    """An ASGI application on a free port of 127.0.0.1, in this event loop."""

    def __init__(self, app: Any, **options: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, **options))

    async def __aenter__(self) -> "LoopbackServer":
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        await until(lambda: self._server.started)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        await self._task
        self._socket.close()


class Driver:
    """A simulator in process, and the calls that tests repeat."""

    def __init__(self, app: Starlette, client: httpx.AsyncClient) -> None:
        self.app = app
        self.http = client
        self.simulation = app.state.simulation

    async def graph(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.http.request(method, f"/v26.0/{path}", headers=headers, **options)

    async def send(self, body: dict[str, Any] | None = None, **changes: Any) -> httpx.Response:
        message: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "to": USER,
            "type": "text",
            "text": {"body": "hello"},
        }
        return await self.graph("POST", f"{NUMBER}/messages", json=(body or message) | changes)

    async def inbound(self, **order: Any) -> dict[str, Any]:
        answer = await self.http.post("/_sim/inbound", json={"number": NUMBER, "from": USER, "text": "hi"} | order)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def subscribe(self, url: str, *, app: str = APP, secret: str = SECRET, fields: str = "messages") -> None:
        """Subscribe the app the way a real one does, and the app to the account."""
        answer = await self.graph(
            "POST",
            f"{app}/subscriptions",
            token=f"{app}|{secret}",
            json={
                "object": "whatsapp_business_account",
                "callback_url": url,
                "verify_token": "vt",
                "fields": fields,
            },
        )
        assert answer.json() == {"success": True}, answer.text
        account = self.simulation.world.accounts[WABA]
        account.subscribers.setdefault(app, None)


def code(answer: httpx.Response) -> int:
    """Meta's code of a refusal; 0 for a success."""
    return 0 if answer.status_code == 200 else int(answer.json()["error"]["code"])


WORLD: dict[str, Any] = {
    "apps": [{"app_id": APP, "app_secret": SECRET}],
    "accounts": [
        {
            "waba_id": WABA,
            "numbers": [
                {"phone_number_id": NUMBER, "display_phone_number": "+39 02 5550123", "verified_name": "Bakery"}
            ],
        }
    ],
    "tokens": [{"token": TOKEN, "app_id": APP}],
}
