"""Drives a simulator in process, and runs the callback server that it delivers to."""

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

from waypost.simulator.app import build
from waypost.simulator.simulation import Clock, Simulation
from waypost.simulator.world.config import SimulatorConfig

APP, SECRET, WABA, NUMBER, TOKEN = "1001", "s3cret", "2001", "3001", "EAAtoken"
USER = "+393331112223"
NEVER_S = 600.0
"""A time limit that no test reaches on a busy machine: pytest ends the test before."""
NOW = 1_790_000_000.0
"""The simulated time, which stands still until a test moves it by `POST /_sim/clock`."""
FAST = SimulatorConfig(
    sent_after_s=0.0,
    delivered_after_s=0.001,
    read_after_s=0.002,
    status_tick_s=0.001,
    retry_delays_s=(0.0, 0.005),
    template_review_s=0.0,
    verification_timeout_s=NEVER_S,
    delivery_timeout_s=NEVER_S,
)


def build_simulator() -> Starlette:
    """Returns a simulator that delivers at once and whose clock stands still.

    Thus a busy machine affects neither its windows nor its rate limits.
    """
    return build(FAST, clock=Clock(lambda: NOW), inbound_wait_s=NEVER_S)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until the event loop makes the condition true."""
    async with asyncio.timeout(NEVER_S):
        while not condition():  # noqa: ASYNC110 - conditions have no event
            await asyncio.sleep(0.002)


class CallbackServer:
    """A server that stands for the callback that Meta calls. Records every POST request.

    A POST request is answered with the next status of `answers`, and with 200 when none is left.
    """

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
        """Answers a verification (GET) or records a delivery (POST)."""
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
        """Returns all `messages` or `statuses` received, in order of arrival."""
        return [item for body in self.bodies for value in values(body) for item in value.get(part, [])]

    def statuses_of(self, wamid: str) -> list[str]:
        """Returns the received statuses of a message, in order of arrival."""
        return [item["status"] for item in self.items("statuses") if item["id"] == wamid]


def values(body: bytes) -> list[dict[str, Any]]:
    """Returns every `value` in a webhook body."""
    return [change["value"] for entry in msgspec.json.decode(body)["entry"] for change in entry["changes"]]


class LoopbackServer:
    """Serves an ASGI application on a free port of 127.0.0.1, in this event loop."""

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
    """A simulator in this process, with methods for the calls that many tests make."""

    def __init__(self, app: Starlette, client: httpx.AsyncClient) -> None:
        self.app = app
        self.http = client
        self.simulation: Simulation = app.state.simulation

    async def graph(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> httpx.Response:
        """Calls the Graph API."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.http.request(method, f"/v26.0/{path}", headers=headers, **options)

    async def send(self, body: dict[str, Any] | None = None, **changes: Any) -> httpx.Response:
        """Sends `body`, or a text if `body` is None, from the number to the user."""
        message: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "to": USER,
            "type": "text",
            "text": {"body": "hello"},
        }
        return await self.graph("POST", f"{NUMBER}/messages", json=(body or message) | changes)

    async def inbound(self, **changes: Any) -> dict[str, Any]:
        """Sends a message from the user to the number."""
        answer = await self.http.post("/_sim/inbound", json={"number": NUMBER, "from": USER, "text": "hi"} | changes)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def subscribe(self, url: str, *, app: str = APP, secret: str = SECRET, fields: str = "messages") -> None:
        """Subscribes the app to webhooks through the Graph API, as a real app does, and to the account."""
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
    """Returns Meta's error code, or 0 if the call succeeded."""
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
