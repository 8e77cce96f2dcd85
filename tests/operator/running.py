"""Helpers for tests of a running operator: objects, reconcilers that only record their calls, and a fleet."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.api.number_models import API_VERSION, FINALIZER
from waypost.operator.cluster.connection import TIMEOUTS, Timeouts
from waypost.operator.cluster.interface import Cluster, Manifest
from waypost.operator.engine.object_cache import Key
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.engine.runtime import Operator, RuntimeOptions
from waypost.operator.options import OperatorOptions

from .apiserver import ApiServer

TRUE, FALSE, UNKNOWN = ConditionStatus
RELEASE = "waypost-system"
TEAM = "team-a"

DEADLINE_S = 300.0
"""Longest wait for a condition; generous, because the machine may be busy."""


def number(name: str = "support", namespace: str = TEAM, **spec: Any) -> Manifest:
    """Returns a number that depends on the Secret `<name>-meta` and the ConfigMap `<name>-bot`."""
    given = {
        "phoneNumberId": f"1{abs(hash(name)) % 10**12:012d}",
        "wabaId": "102290129340398",
        "credentialsRef": {"name": f"{name}-meta"},
        "bot": {"configMapRef": {"name": f"{name}-bot"}},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": NUMBER, "metadata": metadata, "spec": given | spec}


def schedule(name: str = "news", number_name: str = "support", namespace: str = TEAM) -> Manifest:
    """Returns a schedule of that number."""
    spec = {"numberRef": {"name": number_name}, "schedule": "0 9 * * 1", "timeZone": "Europe/Rome", "action": {}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": SCHEDULE, "metadata": metadata, "spec": spec}


def secret(name: str, namespace: str = TEAM, value: str = "one", *, opted_in: bool = True) -> Manifest:
    """Returns a credentials Secret."""
    labels = {"waypost.dev/credentials": "true"} if opted_in else {}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"accessToken": value}}


def config_map(name: str, namespace: str = TEAM, text: str = "version: 1") -> Manifest:
    """Returns a ConfigMap with a bot."""
    metadata = {"name": name, "namespace": namespace, "labels": {"waypost.dev/watched": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"bot.yaml": text}}


def cron_job(name: str, schedule_name: str, namespace: str = TEAM) -> Manifest:
    """Returns the CronJob of a schedule."""
    labels = {"waypost.dev/schedule-namespace": namespace, "waypost.dev/schedule-name": schedule_name}
    metadata = {"name": name, "namespace": RELEASE, "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": {"schedule": "0 9 * * 1"}}


class NotingReconciler:
    """A reconciler that notes its calls.

    Like a real one, it writes a status only when the status changes, and it removes its finalizer.
    """

    def __init__(self, cluster: Cluster, notes: "Notes") -> None:
        self._cluster = cluster
        self._notes = notes

    async def reconcile(self, manifest: Manifest) -> Result:
        notes, name = self._notes, manifest["metadata"]["name"]
        assert name not in notes.under_way, "two reconciles of one object run at a time"
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

    async def watch(self, wake: Callable[[Key], None]) -> None:
        self._notes.watches += 1
        try:
            if self._notes.on_watch is not None:
                await self._notes.on_watch(wake)
            await asyncio.Event().wait()
        finally:
            self._notes.watches -= 1

    async def sweep(self) -> None:
        self._notes.sweeps += 1

    async def hand_over(self) -> None:
        self._notes.handed_over += 1
        if self._notes.at_end is not None:
            await self._notes.at_end()


class Notes:
    """Records what the reconcilers of one operator saw, and decides what they do."""

    def __init__(self) -> None:
        self.reconciled: Counter[str] = Counter()
        self.finalized: Counter[str] = Counter()
        self.generations: dict[str, list[int]] = {}
        self.under_way: set[str] = set()
        self.most_at_once = 0
        self.sweeps = 0
        self.watches = 0
        """How many reconcilers watch at present."""
        self.on_watch: Callable[[Callable[[Key], None]], Any] | None = None
        self.handed_over = 0
        self.lease_lost = threading.Event()
        self.before_status: Callable[[Manifest], Any] | None = None
        self.at_end: Callable[[], Any] | None = None
        self.fails: Callable[[str], bool] = lambda _: False


class Fleet:
    """Runs operators on one API server, each in its own thread.

    kopf ends by cancelling all tasks of its event loop, so operators cannot share a thread.
    """

    def __init__(self, api: ApiServer, kubeconfig: Path) -> None:
        self._api = api
        self._kubeconfig = kubeconfig
        self._running: list[RunningOperator] = []

    def begin(
        self,
        *,
        notes: Notes | None = None,
        resync_s: float = 3600,
        namespaces: tuple[str, ...] | None = None,
        replicas: int = 1,
        identity: str = "one",
        timeouts: Timeouts = TIMEOUTS,
    ) -> Notes:
        """Starts an operator without waiting until it works."""
        notes = notes or Notes()
        options = OperatorOptions(RELEASE, "https://hooks.example.org", namespaces=namespaces, resync_s=resync_s)
        operator = Operator(
            options,
            RuntimeOptions(identity, self._kubeconfig, replicas=replicas, timeouts=timeouts),
            lambda cluster: {kind: NotingReconciler(cluster, notes) for kind in (NUMBER, SCHEDULE)},
            on_lease_lost=notes.lease_lost.set,
        )
        self._running.append(RunningOperator(operator))
        return notes

    def start(self, *, replicas: int = 1, **how: Any) -> Notes:
        """Starts an operator and waits until it is ready. With one replica, it must also watch all kinds of objects."""
        notes = self.begin(replicas=replicas, **how)
        kinds = (NUMBER, SCHEDULE, "Secret", "ConfigMap", "CronJob") if replicas == 1 else ()
        until(lambda: self.not_ready() is None and all(map(self._api.watching, kinds)), "the operator works")
        return notes

    def not_ready(self) -> str | None:
        """Returns what the readiness probe answers for the operator that was started last."""
        self._running[-1].check()
        return self._running[-1].operator.not_ready()

    def take_error(self) -> BaseException | None:
        """Returns the error that ended the operator that was started last. The fleet then forgets this operator."""
        error = self._running[-1].error
        if error is not None:
            self._running.pop()
        return error

    def request_stop(self) -> None:
        """Asks the operator that was started last to stop, as SIGTERM does. Does not wait until it has stopped."""
        self._running[-1].request_stop()

    def stop(self) -> None:
        """Stops the operator that was started last, as SIGTERM does."""
        self._running.pop().stop()

    def stop_first(self) -> None:
        """Stops the operator that was started first."""
        self._running.pop(0).stop()

    def close(self) -> None:
        """Stops all operators."""
        while self._running:
            self.stop()


class RunningOperator:
    """An operator that runs in its own thread."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stop_requested = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises the error that ended the operator, if an error ended it."""
        if self.error is not None:
            raise self.error

    def request_stop(self) -> None:
        """Asks the operator to stop, as SIGTERM does."""
        if not self._is_stop_requested and self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self.operator.stop)
            self._is_stop_requested = True

    def stop(self) -> None:
        """Stops the operator. Raises the error that ended it, if an error ended it."""
        self.request_stop()
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
    """Waits for a condition. `what` describes the condition for the error message."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(0.02)


def settled(read: Callable[[], object], for_s: float = 0.5) -> None:
    """Waits until `read` has returned the same value for `for_s` seconds."""
    last, since = read(), time.monotonic()
    while time.monotonic() - since < for_s:
        time.sleep(0.02)
        if (now := read()) != last:
            last, since = now, time.monotonic()
