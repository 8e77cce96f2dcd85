"""What the tests of the running operator share: stub reconcilers that take notes, and operators to start and stop."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waypost.operator.api.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.api.number_models import API_VERSION, FINALIZER
from waypost.operator.cluster.interface import Cluster, Manifest
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.engine.runtime import Operator, Place
from waypost.operator.options import OperatorOptions

from .apiserver import ApiServer

TRUE, FALSE, UNKNOWN = ConditionStatus
RELEASE = "waypost-system"
TEAM = "team-a"

DEADLINE_S = 120.0
"""Generous: on a busy machine a process takes its time."""


def number(name: str = "support", namespace: str = TEAM, **spec: Any) -> Manifest:
    """A number that depends on the Secret `<name>-meta` and the ConfigMap `<name>-bot`."""
    given = {
        "phoneNumberId": f"1{abs(hash(name)) % 10**12:012d}",
        "wabaId": "102290129340398",
        "credentialsRef": {"name": f"{name}-meta"},
        "bot": {"configMapRef": {"name": f"{name}-bot"}},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": NUMBER, "metadata": metadata, "spec": given | spec}


def schedule(name: str = "news", number_name: str = "support", namespace: str = TEAM) -> Manifest:
    """A schedule of that number."""
    spec = {"numberRef": {"name": number_name}, "schedule": "0 9 * * 1", "timeZone": "Europe/Rome", "action": {}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": SCHEDULE, "metadata": metadata, "spec": spec}


def secret(name: str, namespace: str = TEAM, value: str = "one", *, opted_in: bool = True) -> Manifest:
    """A credentials Secret."""
    labels = {"waypost.dev/credentials": "true"} if opted_in else {}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"accessToken": value}}


def config_map(name: str, namespace: str = TEAM, text: str = "version: 1") -> Manifest:
    """A bot."""
    metadata = {"name": name, "namespace": namespace, "labels": {"waypost.dev/watched": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"bot.yaml": text}}


def cron_job(name: str, schedule_name: str, namespace: str = TEAM) -> Manifest:
    """A child of a schedule."""
    labels = {"waypost.dev/schedule-namespace": namespace, "waypost.dev/schedule-name": schedule_name}
    metadata = {"name": name, "namespace": RELEASE, "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": {"schedule": "0 9 * * 1"}}


class NoteTaker:
    """A reconciler that keeps to the rules: it writes a status only when that changes, and removes its finalizer."""

    def __init__(self, cluster: Cluster, notes: "Notes") -> None:
        self._cluster = cluster
        self._notes = notes

    async def reconcile(self, manifest: Manifest) -> Result:
        notes, name = self._notes, manifest["metadata"]["name"]
        assert name not in notes.under_way, "two reconciles of one object at a time"
        notes.under_way.add(name)
        try:
            notes.most_at_once = max(notes.most_at_once, len(notes.under_way))
            notes.reconciled[name] += 1
            notes.generations.setdefault(name, []).append(manifest["metadata"]["generation"])
            if notes.before_status is not None:
                await notes.before_status(manifest)
            if notes.fails(name):
                raise RuntimeError("a defect")
            if FINALIZER not in manifest["metadata"].get("finalizers", []):
                manifest = await self._cluster.write_metadata(manifest, {"finalizers": [FINALIZER]})
            ready = {"type": ConditionType.READY, "status": TRUE, "reason": Reason.AS_DESIRED, "observedGeneration": 1}
            status = {"observedGeneration": manifest["metadata"]["generation"], "conditions": [ready]}
            if manifest.get("status") != status:
                await self._cluster.write_status(manifest, status)
        finally:
            notes.under_way.discard(name)
        return Result(None, Outcome.READY)

    async def finalize(self, manifest: Manifest) -> Result:
        self._notes.finalized[manifest["metadata"]["name"]] += 1
        await self._cluster.write_metadata(manifest, {"finalizers": []})
        return Result(None, Outcome.READY)

    async def sweep(self) -> None:
        self._notes.sweeps += 1

    async def hand_over(self) -> None:
        self._notes.handed_over += 1
        if self._notes.at_end is not None:
            await self._notes.at_end()


class Notes:
    """What the stub reconcilers of one operator saw."""

    def __init__(self) -> None:
        self.reconciled: Counter[str] = Counter()
        self.finalized: Counter[str] = Counter()
        self.generations: dict[str, list[int]] = {}
        self.under_way: set[str] = set()
        self.most_at_once = 0
        self.sweeps = 0
        self.handed_over = 0
        self.lease_lost = threading.Event()
        self.before_status: Callable[[Manifest], Any] | None = None
        self.at_end: Callable[[], Any] | None = None
        self.fails: Callable[[str], bool] = lambda _: False


class Fleet:
    """Operators on one API server, each in a thread of its own: kopf ends by cancelling all tasks of its loop."""

    def __init__(self, api: ApiServer, kubeconfig: Path) -> None:
        self._api = api
        self._kubeconfig = kubeconfig
        self._running: list[_Running] = []

    def begin(
        self,
        *,
        notes: Notes | None = None,
        resync_s: float = 3600,
        namespaces: tuple[str, ...] | None = None,
        replicas: int = 1,
        identity: str = "one",
    ) -> Notes:
        """An operator that has only just been started."""
        notes = notes or Notes()
        options = OperatorOptions(RELEASE, "https://hooks.example.org", namespaces=namespaces, resync_s=resync_s)
        operator = Operator(
            options,
            Place(identity, self._kubeconfig, replicas=replicas),
            lambda cluster: {kind: NoteTaker(cluster, notes) for kind in (NUMBER, SCHEDULE)},
            on_lease_lost=notes.lease_lost.set,
        )
        self._running.append(_Running(operator))
        return notes

    def start(self, *, replicas: int = 1, **how: Any) -> Notes:
        """An operator that works when this returns, unless it is a standby."""
        notes = self.begin(replicas=replicas, **how)
        kinds = (NUMBER, SCHEDULE, "Secret", "ConfigMap", "CronJob") if replicas == 1 else ()
        until(lambda: self.not_ready() is None and all(map(self._api.watching, kinds)), "the operator works")
        return notes

    def not_ready(self) -> str | None:
        """What the readiness probe of the one started last says."""
        self._running[-1].check()
        return self._running[-1].operator.not_ready()

    def ends_by(self) -> BaseException | None:
        """What ended the one that was started last, which is then no longer looked after."""
        error = self._running[-1].error
        if error is not None:
            self._running.pop()
        return error

    def tell_to_stop(self) -> None:
        """Tell the one that was started last, as SIGTERM would, and do not wait."""
        self._running[-1].tell_to_stop()

    def stop(self) -> None:
        """Stop the one that was started last, as SIGTERM would."""
        self._running.pop().stop()

    def stop_first(self) -> None:
        """Stop the one that was started first."""
        self._running.pop(0).stop()

    def close(self) -> None:
        """Stop all."""
        while self._running:
            self.stop()


class _Running:
    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def tell_to_stop(self) -> None:
        if not self._told and self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self.operator.stop)
            self._told = True

    def stop(self) -> None:
        self.tell_to_stop()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the operator does not end"
        self.check()

    def _run(self) -> None:
        async def work() -> None:
            self._loop = asyncio.get_running_loop()
            await self.operator.run()

        try:
            asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            self.error = error


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(0.02)


def settled(read: Callable[[], object], for_s: float = 0.5) -> None:
    """Wait until what `read` gives has not changed for a while."""
    last, since = read(), time.monotonic()
    while time.monotonic() - since < for_s:
        time.sleep(0.02)
        if (now := read()) != last:
            last, since = now, time.monotonic()
