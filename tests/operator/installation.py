"""Runs a number's reconciler without Kubernetes, with a cluster in memory, the simulated Meta, and a webhook."""

import asyncio
import base64
import contextlib
import dataclasses
import re
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route as Path

from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts import bot_files, registry
from waypost.contracts.condition_types import ConditionStatus
from waypost.dev.file_cluster import FileCluster
from waypost.operator.api.conditions import find
from waypost.operator.cluster.interface import Cluster, Manifest
from waypost.operator.engine.outcome import Result
from waypost.operator.meta.budget_handover import BudgetHandover
from waypost.operator.number.reconcile import NumberReconciler
from waypost.operator.options import OperatorOptions
from waypost.simulator.app import build
from waypost.simulator.world.config import SimulatorConfig

APP, SECRET, TOKEN = "100000000000001", "canary-app-secret-7f3a", "EAAcanaryAccessToken7f3a"
WABA, NUMBER, PHONE = "102290129340398", "106540352242922", "+1 555 078 3881"
NAMESPACE, NAME, RELEASE = "team-a", "support", "waypost"
TRUE, FALSE, UNKNOWN = ConditionStatus
BOT = "version: 1\nintents:\n  hello:\n    keywords: [hello]\n    reply: Hello!\nfallback:\n  reply: Sorry?\n"
DEADLINE_S = 60.0


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def number(name: str = NAME, *, namespace: str = NAMESPACE, **spec: Any) -> Manifest:
    """Returns a `WhatsAppNumber`."""
    return {
        "apiVersion": "waypost.dev/v1alpha1",
        "kind": "WhatsAppNumber",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"phoneNumberId": NUMBER, "wabaId": WABA, "credentialsRef": {"name": "support-meta"}} | spec,
    }


def secret(
    name: str = "support-meta", *, namespace: str = NAMESPACE, labels: Mapping[str, str] | None = None, **data: str
) -> Manifest:
    """Returns a credentials Secret. By default its owner has opted in."""
    values = {"appId": APP, "appSecret": SECRET, "accessToken": TOKEN} | data
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict({"waypost.dev/credentials": "true"} if labels is None else labels),
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items() if value},
    }


def script(text: str = BOT, name: str = "support-bot") -> Manifest:
    """Returns a ConfigMap with a bot."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"bot.yaml": text},
    }


class Webhook:
    """A stand-in for the webhook's pods. While it is up, it answers a handshake for each published number."""

    def __init__(self, cluster: FileCluster) -> None:
        self._cluster = cluster
        self.is_up = True
        self.probes = 0
        self.app = Starlette(routes=[Path("/webhooks/{namespace}/{name}", self._answer)])

    def reads(self, cluster: FileCluster) -> None:
        """Makes the webhook read the published numbers of another cluster from now on."""
        self._cluster = cluster

    async def _answer(self, request: Request) -> Response:
        if not self.is_up:
            return PlainTextResponse("not found", 404)
        asked, tokens = request.query_params, self._tokens(**request.path_params)
        if asked.get("hub.verify_token") not in tokens:
            return PlainTextResponse("refused", 403 if tokens else 404)
        return PlainTextResponse(asked["hub.challenge"])

    def _tokens(self, namespace: str, name: str) -> set[str]:
        if namespace == "apps":
            routes = published(self._cluster)[0].values()
            return {token for each in routes if each.app_id == name for token in each.verify_tokens}
        route = published(self._cluster)[0].get(f"{namespace}.{name}.json")
        return set(route.verify_tokens) if route else set()

    async def serves(self, path: str, verify_token: str) -> str | None:
        """Answers the operator's probe without a network.

        Returns None if the webhook serves the path, else the HTTP status as a text.
        """
        self.probes += 1
        asked = {"hub.mode": "subscribe", "hub.verify_token": verify_token, "hub.challenge": "1"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://webhook") as client:
            answer = await client.get(path, params=asked)
        return None if answer.text == "1" else f"HTTP {answer.status_code}"


def published(cluster: FileCluster) -> tuple[dict[str, registry.Route], dict[str, registry.Number]]:
    """Returns the registry entries that the webhook and the workers would read.

    The entries of numbers include the bots.
    """
    routes: dict[str, registry.Route] = {}
    numbers: dict[str, registry.Number] = {}
    bots = contents(cluster, "bot")
    for key, content in contents(cluster, "webhook").items():
        routes[key] = msgspec.json.decode(content, type=registry.Route)
    for key, content in contents(cluster, "number").items():
        number = msgspec.json.decode(content, type=registry.Number)
        if number.bot_digest is not None:
            packed = bots[bot_files.file_name(number.bot_digest)]
            number = msgspec.structs.replace(number, bot=bot_files.unpack(packed, number.bot_digest))
        numbers[key] = number
    return routes, numbers


def contents(cluster: FileCluster, content: str) -> dict[str, bytes]:
    """Returns all keys and values of the registry's Secrets that have this content.

    A pod that mounts the Secrets sees the same keys.
    """
    secrets = [each for each in cluster.all("Secret") if _shard(each, content) is not None]
    return {
        key: base64.b64decode(value)
        for each in sorted(secrets, key=lambda each: _shard(each, content) or 0)
        for key, value in (each.get("data") or {}).items()
    }


def _shard(secret: Manifest, content: str) -> int | None:
    matched = re.fullmatch(rf"waypost-registry-{content}-(\d+)", secret["metadata"]["name"])
    return int(matched[1]) if matched else None


class Installation:
    """A cluster, the simulated Meta, a webhook, and an operator whose reconciles a test runs one by one."""

    def __init__(
        self, public_url: str, simulator: Starlette, cluster: FileCluster, webhook: Webhook, clock: Clock
    ) -> None:
        self.public_url = public_url
        self.simulation = simulator.state.simulation
        self.asgi = simulator
        self.cluster = cluster
        self.webhook = webhook
        self.clock = clock
        self.options = OperatorOptions(release_namespace=RELEASE, public_url=public_url)
        self.calls: list[str] = []
        self.control = httpx.AsyncClient(transport=httpx.ASGITransport(simulator), base_url="http://graph")
        self.graph = self.client()
        self.reconciler = self.operator()

    def client(self, timeout_s: float = 10.0) -> GraphClient:
        """Returns a client of the simulated Meta that records each call."""
        return GraphClient("http://graph", "v26.0", timeout_s=timeout_s, transport=_Recording(self.asgi, self.calls))

    def operator(
        self, cluster: Cluster | None = None, *, handover: BudgetHandover | None = None, **options: Any
    ) -> NumberReconciler:
        """Returns an operator that has just started.

        Without `handover`, the operator behaves as if no other operator had started within the last hour.
        """
        chosen, where = dataclasses.replace(self.options, **options), cluster or self.cluster
        return NumberReconciler(where, self.graph, chosen, clock=self.clock, probe=self.webhook, handover=handover)

    async def reconcile(self, name: str = NAME, namespace: str = NAMESPACE, *, after_s: float = 5.0) -> Result:
        """Reconciles the number once, `after_s` seconds after the current time of the clock."""
        self.clock.advance(after_s)
        manifest = self.cluster.get("WhatsAppNumber", namespace, name)
        assert manifest is not None
        return await self.reconciler.reconcile(manifest)

    async def settle(self, name: str = NAME, namespace: str = NAMESPACE) -> Result:
        """Reconciles the number until nothing is due before the next resync."""
        for _ in range(30):
            result = await self.reconcile(name, namespace)
            if result.requeue_after_s is None or result.requeue_after_s > 60:
                return result
        raise AssertionError(f"does not settle: {result}, {self.status(name, namespace)}")

    def status(self, name: str = NAME, namespace: str = NAMESPACE) -> dict[str, Any]:
        manifest = self.cluster.get("WhatsAppNumber", namespace, name)
        assert manifest is not None
        found: dict[str, Any] = manifest.get("status") or {}
        return found

    def condition(self, type_: str, name: str = NAME, namespace: str = NAMESPACE) -> tuple[str, str]:
        """Returns the status and reason of a condition."""
        found = find(self.status(name, namespace), type_)
        return (found["status"], found["reason"]) if found else ("", "")

    def message(self, type_: str, name: str = NAME) -> str:
        found = find(self.status(name), type_)
        return str(found["message"]) if found else ""

    async def world(self, **seed: Any) -> None:
        """Changes what exists at Meta."""
        answer = await self.control.put("/_sim/world", json=seed)
        assert answer.is_success, answer.text

    async def fault(self, match: Any, **fault: Any) -> None:
        """Makes matching calls to Meta fail."""
        answer = await self.control.post("/_sim/faults", json={"match": match} | fault)
        assert answer.is_success, answer.text

    @property
    def at_meta(self) -> dict[str, Any]:
        """Returns what is registered at Meta: callbacks, subscriptions and states."""
        world = self.simulation.world
        return {
            "app": world.apps[APP].subscription
            and (world.apps[APP].subscription.url, sorted(world.apps[APP].subscription.fields)),
            "account": {app: each and each.url for app, each in world.accounts[WABA].subscribers.items()},
            "numbers": {key: {a: c.url for a, c in n.callbacks.items()} for key, n in world.numbers.items()},
            "states": {key: n.status for key, n in world.numbers.items()},
        }


class _Recording(httpx.ASGITransport):
    def __init__(self, app: Any, calls: list[str]) -> None:
        super().__init__(app)
        self._calls = calls

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._calls.append(f"{request.method} {request.url.path.removeprefix('/v26.0')}")
        return await super().handle_async_request(request)


@contextlib.asynccontextmanager
async def installation(config: SimulatorConfig | None = None) -> AsyncIterator[Installation]:
    """Yields an installation with one app, account, number and token at Meta. No object exists yet."""
    simulator = build(config or SimulatorConfig(verification_timeout_s=DEADLINE_S))
    clock = Clock()
    cluster = FileCluster(clock=clock)
    webhook = Webhook(cluster)
    async with _listening(webhook.app) as url, simulator.router.lifespan_context(simulator):
        made = Installation(url, simulator, cluster, webhook, clock)
        made.simulation.clock.now = clock
        made.simulation.now = clock
        await made.world(
            apps=[{"app_id": APP, "app_secret": SECRET}],
            accounts=[{"waba_id": WABA, "numbers": [{"phone_number_id": NUMBER, "display_phone_number": PHONE}]}],
            tokens=[{"token": TOKEN, "app_id": APP}],
        )
        yield made
        await made.control.aclose()
        await made.graph.aclose()


@contextlib.asynccontextmanager
async def _listening(app: Starlette) -> AsyncIterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    task = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(DEADLINE_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn only sets a flag
            await asyncio.sleep(0.002)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    # No request runs any more, so the test does not wait for uvicorn's orderly end, which takes a fifth of a second.
    for each in server.servers:
        each.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    async with asyncio.timeout(DEADLINE_S):
        while server.server_state.connections:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    listener.close()
