"""If an operator is killed after any of its writes, the next operator can continue.

The write may be in the cluster or at Meta.
"""

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
    """Raised to simulate a kill of the process. The operator does not catch it."""


class Countdown:
    """Kills the operator right after its k-th write."""

    def __init__(self, writes: int) -> None:
        self._remaining = writes

    def written(self) -> None:
        self._remaining -= 1
        if self._remaining == 0:
            raise Killed


def mortal(cluster: Cluster, countdown: Countdown) -> Cluster:
    """Returns a cluster that passes each call on and counts the writes."""

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

    return Mortal()


class MortalTransport(httpx.ASGITransport):
    """A transport to the simulated Meta that counts changes.

    A kill happens after the change, but before the operator gets the answer.
    """

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
    """Advances the clock by each step (in seconds) and then reconciles, until the countdown kills the operator."""
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
    """Returns the state that kills must not change. Times, versions and random tokens are left out."""
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


def saved_token_is_published(it: Installation) -> bool:
    """Returns whether the webhook accepts the verify token that the operator saved."""
    stored = it.cluster.get("Secret", "waypost", f"waypost-number-{NAMESPACE}.{NAME}")
    if stored is None:
        return not published(it.cluster)[0]
    saved = base64.b64decode(stored["data"]["verifyToken"]).decode()
    return all(each.verify_tokens[0] == saved for each in published(it.cluster)[0].values())


async def a_new_number(it: Installation) -> None:
    """Prepares a number that is not connected yet, so that every step is needed."""
    facts = {"phone_number_id": NUMBER, "display_phone_number": PHONE, "status": "PENDING"}
    await it.world(accounts=[{"waba_id": WABA, "numbers": [facts]}])
    it.cluster.put(secret(pin="123456"))
    it.cluster.put(number(deletionPolicy="Delete"))


async def an_expiring_token(it: Installation) -> None:
    """Prepares a number that is as desired and whose token expires soon."""
    it.cluster.put(secret())
    it.cluster.put(number(deletionPolicy="Delete"))
    await run(it, None, [1.0])
    it.simulation.world.tokens[TOKEN].expires_at = it.clock() + 10 * DAY_S


async def a_deletion(it: Installation) -> None:
    """Prepares a number that was as desired and was then deleted with the policy `Delete`."""
    it.cluster.put(secret())
    it.cluster.put(number(deletionPolicy="Delete"))
    await run(it, None, [1.0])
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)


STORIES: dict[str, tuple[Callable[[Installation], Awaitable[None]], list[float]]] = {
    "a new number": (a_new_number, [1.0, 400.0, 400.0, 400.0]),
    "an expiring token": (an_expiring_token, [400.0, 400.0, 400.0, 400.0, 400.0]),
    "a deletion": (a_deletion, [1.0, 60.0]),
}


async def play(story: str, die_after: int | None) -> tuple[dict[str, Any], bool]:
    """Plays a story with an operator that is killed at most once, and with its successor.

    Returns the outcome, and whether the operator was killed.
    """
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
        assert saved_token_is_published(it)
        return outcome(it), died


@pytest.mark.fault("K2")
@pytest.mark.parametrize("story", STORIES)
async def test_a_kill_after_any_write_does_not_change_the_outcome(story: str) -> None:
    """A kill of the operator after any of its writes does not change the outcome of a story.

    The test kills the operator after its k-th write, for each k up to the number of writes.
    """
    undisturbed, _ = await play(story, None)
    die_after, died = 1, True
    while died:
        ended, died = await play(story, die_after)
        assert ended == undisturbed, f"killed after write {die_after}"
        die_after += 1
    assert die_after > 4, "the story has too few writes to show anything"
