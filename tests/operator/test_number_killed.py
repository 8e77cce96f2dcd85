"""An operator that is killed after any of its writes, in the cluster or at Meta, leaves nothing the next one minds."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from waypost.cloudapi.graph.client import GraphClient
from waypost.operator.cluster.interface import Cluster

from .installation import (
    NAME,
    NAMESPACE,
    NUMBER,
    PHONE,
    TOKEN,
    WABA,
    Installation,
    installation,
    number,
    published,
    secret,
)

pytestmark = pytest.mark.anyio
WRITES = ("apply", "write_entry", "delete", "write_status", "write_metadata")
DAY_S = 86_400.0


class Killed(BaseException):
    """The process ends here: nothing catches it."""


class Countdown:
    """Ends the operator right after its k-th write."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def written(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def mortal(cluster: Cluster, countdown: Countdown) -> Cluster:
    """The cluster, whose writes are counted."""

    class Mortal:
        def __getattr__(self, name: str) -> Any:
            call: Callable[..., Awaitable[Any]] = getattr(cluster, name)
            if name not in WRITES:
                return call

            async def write(*arguments: Any, **options: Any) -> Any:
                result = await call(*arguments, **options)
                countdown.written()
                return result

            return write

    return Mortal()  # type: ignore[return-value] - it has all that the cluster has


class MortalTransport(httpx.ASGITransport):
    """The simulated Meta, whose changes are counted; the operator dies before it hears the answer."""

    def __init__(self, app: Any, countdown: Countdown) -> None:
        super().__init__(app)
        self._countdown = countdown

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        changes = request.method != "GET" or "/oauth/" in request.url.path
        if changes:
            self._countdown.written()
        return response


async def run(it: Installation, countdown: Countdown | None, steps: list[float]) -> None:
    """Reconcile at each step; die if the countdown says so."""
    if countdown is None:
        operator, graph = it.operator(), it.graph
    else:
        graph = GraphClient("http://graph", "v26.0", transport=MortalTransport(it.asgi, countdown))
        it.graph = graph
        operator = it.operator(mortal(it.cluster, countdown))
    for step in steps:
        it.clock.advance(step)
        manifest = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
        if manifest is None:
            return
        await operator.reconcile(manifest)


def outcome(it: Installation) -> dict[str, Any]:
    """All that must be the same however often the operator died: no times, no versions, no random tokens."""
    manifest = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    routes, numbers = published(it.cluster)
    status = (manifest or {}).get("status") or {}
    found = {
        "finalizers": manifest and manifest["metadata"].get("finalizers"),
        "conditions": {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", ())},
        "status": {key: status.get(key) for key in ("phone", "webhook", "tokenSecretRef", "failureCount")},
        "secrets": sorted(each["metadata"]["name"] for each in it.cluster.all("Secret")),
        "routes": {key: (each.app_secrets, len(each.verify_tokens)) for key, each in routes.items()},
        "numbers": {key: each.access_token == TOKEN for key, each in numbers.items()},
        "meta": it.at_meta,
        "revoked": sorted(key == TOKEN for key, each in it.simulation.world.tokens.items() if each.revoked),
    }
    # The webhook has another port in each installation.
    same: dict[str, Any] = json.loads(json.dumps(found).replace(it.public_url, "https://public"))
    return same


def kept_token_is_published(it: Installation) -> bool:
    """The webhook answers for the very token that is kept."""
    stored = it.cluster.get("Secret", "waypost", f"waypost-number-{NAMESPACE}.{NAME}")
    if stored is None:
        return not published(it.cluster)[0]
    kept = base64.b64decode(stored["data"]["verifyToken"]).decode()
    return all(each.verify_tokens[0] == kept for each in published(it.cluster)[0].values())


async def a_new_number(it: Installation) -> None:
    """Not connected yet, so that everything there is must be done."""
    facts = {"phone_number_id": NUMBER, "display_phone_number": PHONE, "status": "PENDING"}
    await it.world(accounts=[{"waba_id": WABA, "numbers": [facts]}])
    it.cluster.put(secret(pin="123456"))
    it.cluster.put(number(deletionPolicy="Delete"))


async def an_expiring_token(it: Installation) -> None:
    """A number that is as desired, whose token will lapse."""
    it.cluster.put(secret())
    it.cluster.put(number(deletionPolicy="Delete"))
    await run(it, None, [1.0])
    it.simulation.world.tokens[TOKEN].expires_at = it.clock() + 10 * DAY_S


async def a_deletion(it: Installation) -> None:
    """A number that is as desired, and is deleted with all that is at Meta."""
    it.cluster.put(secret())
    it.cluster.put(number(deletionPolicy="Delete"))
    await run(it, None, [1.0])
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)


STORIES: dict[str, tuple[Callable[[Installation], Awaitable[None]], list[float]]] = {
    "a new number": (a_new_number, [1.0, 400.0, 400.0, 400.0]),
    "an expiring token": (an_expiring_token, [400.0, 400.0, 400.0, 400.0, 400.0]),
    "a deletion": (a_deletion, [1.0, 60.0]),
}


async def told(story: str, die_after: int | None) -> tuple[dict[str, Any], bool]:
    """The story with an operator that dies once; returns how it ended, and whether it did die."""
    prepare, steps = STORIES[story]
    async with installation() as it:
        await prepare(it)
        died = False
        if die_after is not None:
            try:
                await run(it, Countdown(die_after), steps)
            except Killed:
                died = True
            it.graph = it.client()
        await run(it, None, steps)
        assert kept_token_is_published(it)
        return outcome(it), died


@pytest.mark.parametrize("story", STORIES)
async def test_an_operator_killed_after_its_kth_write_changes_nothing_in_the_end(story: str) -> None:
    """For every k, until one run has no k-th write any more."""
    undisturbed, _ = await told(story, None)
    die_after, died = 1, True
    while died:
        ended, died = await told(story, die_after)
        assert ended == undisturbed, f"killed after write {die_after}"
        die_after += 1
    assert die_after > 4, "the story writes too little to show anything"
