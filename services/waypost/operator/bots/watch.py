"""Asks the workers at intervals about the bots of all numbers, and wakes the numbers for which the answer is news.

It stands outside of reconciles: a worker that does not answer delays none of them.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx
import msgspec
import structlog

from waypost.contracts.bot_states import BOTS_PATH, BotState, BotStates
from waypost.contracts.condition_types import ConditionType
from waypost.operator.api.conditions import find
from waypost.operator.api.kinds import NUMBER
from waypost.operator.bots.verdict import BotVerdict, unasked, verdict
from waypost.operator.cluster.interface import Cluster, ClusterError, Manifest
from waypost.operator.engine.object_cache import Key, key_of
from waypost.telemetry.outage import Outage

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 30.0
TIMEOUT_S: Final = 3.0
"""Longest time for the answer of one worker."""
AT_ONCE: Final = 8
LONGEST_ANSWER: Final = 16 << 20
REMEMBERED_S: Final = 120.0
"""How long the last answer of a worker counts that does not answer any more, although its pod is there."""
NUMBERS_PER_STEP: Final = 500
"""Numbers after which other work of the event loop has its turn."""

WORKERS: Final = {"app.kubernetes.io/part-of": "waypost", "app.kubernetes.io/component": "worker"}
"""Labels of the pods of workers."""
PROBES: Final = "probes"
"""Name of the port of the container at which a worker answers."""

Addresses = Callable[[], Awaitable[Sequence[str]]]


def worker_pods(cluster: Cluster) -> Addresses:
    """Returns a function that lists the addresses of the workers' pods that run. It may raise `ClusterError`."""

    async def addresses() -> list[str]:
        return [url for pod in await cluster.labelled("Pod", WORKERS) if (url := _address(pod)) is not None]

    return addresses


def _address(pod: Manifest) -> str | None:
    status = pod.get("status") or {}
    address = status.get("podIP")
    if not address or status.get("phase") != "Running" or pod["metadata"].get("deletionTimestamp"):
        return None
    containers = (pod.get("spec") or {}).get("containers") or ()
    ports = (port for each in containers for port in each.get("ports") or () if port.get("name") == PROBES)
    port = next((each.get("containerPort") for each in ports), None)
    host = f"[{address}]" if ":" in address else address
    return None if port is None else f"http://{host}:{port}"


@dataclass(frozen=True)
class _Answer:
    at: float
    bots: tuple[BotState, ...]


class BotWatch:
    """What the workers said last about the bots. `run` asks them, and `verdict` returns what follows for a number."""

    def __init__(
        self, addresses: Addresses, *, interval_s: float = INTERVAL_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._addresses = addresses
        self._interval_s = interval_s
        self._clock = clock
        self._answers: dict[str, _Answer] = {}
        self._states: dict[tuple[str, str], list[BotState]] = {}
        self._answered_at: float | None = None
        self._has_answers = False
        self._has_looked = False
        self._seen: dict[Key, BotVerdict] = {}
        self._outage = Outage(
            __name__, began="no worker could be asked about its bots", ended="workers were asked about their bots"
        )

    def verdict(self, namespace: str, name: str) -> BotVerdict | None:
        """Returns what is known of the bot of a number, or None if the workers have not been asked yet."""
        if not self._has_looked:
            return None
        if not self._has_answers or self._answered_at is None:
            return unasked(self._answered_at)
        return verdict(self._states.get((namespace, name), ()), self._answered_at)

    async def run(self, numbers: Callable[[], Awaitable[list[Manifest]]], wake: Callable[[Key], None]) -> None:
        """Asks the workers at intervals until this task is cancelled. Calls `wake` for each number with news."""
        while True:
            await self.look()
            try:
                await self._wake(await numbers(), wake)
            except ClusterError as error:
                log.info("the numbers could not be listed; they are looked at again", error=str(error))
            await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Asks each worker once."""
        failure: Exception | None = None
        try:
            addresses = list(dict.fromkeys(await self._addresses()))
        except ClusterError as error:
            failure, addresses = error, list(self._answers)
        fresh = await self._ask_all(addresses)
        now = self._clock()
        kept = {each: self._answers.get(each) if answer is None else answer for each, answer in fresh.items()}
        self._answers = {
            each: answer for each, answer in kept.items() if answer is not None and now - answer.at < REMEMBERED_S
        }
        states: dict[tuple[str, str], list[BotState]] = defaultdict(list)
        for answer in self._answers.values():
            for state in answer.bots:
                states[state.namespace, state.name].append(state)
        self._states, self._has_answers, self._has_looked = dict(states), bool(self._answers), True
        if any(fresh.values()):
            self._answered_at = now
            self._outage.answered()
        elif failure is not None or fresh:
            self._outage.failed(failure or TimeoutError("no worker has answered"))

    async def _ask_all(self, addresses: Sequence[str]) -> dict[str, _Answer | None]:
        slots = asyncio.Semaphore(AT_ONCE)
        # Workers speak plain HTTP, so no certificates are read.
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=False) as client:  # noqa: S501

            async def ask(address: str) -> _Answer | None:
                async with slots:
                    return await _ask(client, address, self._clock)

            return dict(zip(addresses, await asyncio.gather(*map(ask, addresses)), strict=True))

    async def _wake(self, numbers: Sequence[Manifest], wake: Callable[[Key], None]) -> None:
        seen: dict[Key, BotVerdict] = {}
        for place, manifest in enumerate(numbers):
            if not has_bot(manifest):
                continue
            key = key_of(manifest)
            found = self.verdict(key[1], key[2])
            assert found is not None
            before, seen[key] = self._seen.get(key), found
            if found != before and (before is not None or _is_news(manifest, found)):
                wake(key)
            if place % NUMBERS_PER_STEP == 0:
                await asyncio.sleep(0)
        self._seen = seen


def has_bot(manifest: Manifest) -> bool:
    """Returns whether a number asks for a script or a plugin."""
    return bool((manifest.get("spec") or {}).get("bot")) and manifest["kind"] == NUMBER


def _is_news(manifest: Manifest, found: BotVerdict) -> bool:
    """Returns whether the status of the number differs from the verdict. Messages are not compared."""
    written = find(manifest.get("status"), ConditionType.BOT_HEALTHY) or {}
    return (written.get("status"), written.get("reason")) != (found.status, found.reason)


async def _ask(client: httpx.AsyncClient, address: str, clock: Callable[[], float]) -> _Answer | None:
    """Returns the answer of a worker, or None. A worker of the previous version gives no answer."""
    content = bytearray()
    try:
        async with asyncio.timeout(TIMEOUT_S), client.stream("GET", f"{address}{BOTS_PATH}") as response:
            if response.status_code != httpx.codes.OK:
                return None
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > LONGEST_ANSWER:
                    return None
        return _Answer(clock(), msgspec.json.decode(content, type=BotStates).bots)
    except (httpx.HTTPError, TimeoutError, msgspec.MsgspecError):
        return None
