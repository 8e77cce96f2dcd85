"""The parts of the operator put together, and the order in which they start and end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from waypost.operator.api.kinds import OURS
from waypost.operator.cluster import connection
from waypost.operator.cluster.api_calls import KubernetesCalls, NotThere
from waypost.operator.cluster.interface import Cluster, ClusterError
from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.cluster.leader import Leadership, LeaseLost
from waypost.operator.engine import handlers
from waypost.operator.engine.canary import Canary
from waypost.operator.engine.controller import Controller, HandingOver, Reconciler, Sweeping
from waypost.operator.engine.object_cache import Known
from waypost.operator.engine.watching import Watching
from waypost.operator.engine.workers import CONCURRENCY, Workers
from waypost.operator.options import OperatorOptions

log = structlog.get_logger(__name__)

START_RETRY_S = 3.0
FINISH_S = 25.0
"""What is under way gets this long at the end: a Graph call may take 30 s, a pod's grace period is a minute."""
HAND_OVER_S = 3.0
"""Less than a process has that lost its Lease."""


@dataclass(frozen=True)
class Place:
    """Where and as whom the operator runs."""

    identity: str
    """Unlike that of any other replica: the pod's name."""
    kubeconfig: Path | None = None
    replicas: int = 1
    concurrency: int = CONCURRENCY


class Operator:
    """`await run()` until `stop()`, a signal, or an error that only a new process gets over."""

    def __init__(
        self,
        options: OperatorOptions,
        place: Place,
        reconcilers: Callable[[Cluster], Mapping[str, Reconciler]],
        *,
        on_lease_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_lease_lost = on_lease_lost
        self._options = options
        self._place = place
        self._reconcilers = reconcilers
        self._stop = asyncio.Event()
        self._canary: Canary | None = None
        self._waits_for: str | None = "starting"

    def stop(self) -> None:
        """Begin to end; what is under way is finished."""
        self._stop.set()

    def not_ready(self) -> str | None:
        """Why this operator cannot work, or None. A standby is ready. May be called from any thread."""
        return self._waits_for

    def not_alive(self) -> str | None:
        """Why a new process is needed, or None. May be called from any thread."""
        return None if self._canary is None else self._canary.unhealthy()

    async def run(self) -> None:
        """Raises `NoConnection`, `LeaseLost`, or what ended a watch stream for good."""
        options, place = self._options, self._place
        known = Known()
        calls = KubernetesCalls(
            await connection.client(place.kubeconfig), lambda: connection.configuration(place.kubeconfig)
        )
        cluster = KubernetesCluster(
            calls,
            known,
            release_namespace=options.release_namespace,
            namespaces=options.namespaces,
            instance=place.identity,
        )
        leadership = Leadership(cluster, options.release_namespace, place.identity) if place.replicas > 1 else None
        try:
            if leadership is not None:
                self._waits_for = None
                if not await self._unless_stopped(leadership.acquire()):
                    return
            reconcilers = self._reconcilers(cluster)
            try:
                await self._lead(cluster, known, leadership, reconcilers)
            finally:
                await self._hand_over(reconcilers.values())
        finally:
            if leadership is not None:
                await leadership.release()
            await cluster.close()

    async def _lead(
        self,
        cluster: KubernetesCluster,
        known: Known,
        leadership: Leadership | None,
        reconcilers: Mapping[str, Reconciler],
    ) -> None:
        options = self._options
        controller = Controller(cluster, known, reconcilers, resync_s=options.resync_s)
        workers = Workers(controller, concurrency=self._place.concurrency)
        namespaces = None if options.namespaces is None else frozenset(options.namespaces)
        watching = Watching(known, workers, resync_s=options.resync_s, namespaces=namespaces)
        canary = Canary(cluster, options.release_namespace)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._keep(leadership), name="lease")] if leadership is not None else []
            if await self._unless_stopped(self._list_all(cluster, known, watching)):
                working = group.create_task(workers.run(), name="workers")
                beside.append(group.create_task(canary.run(), name="canary"))
                beside.append(group.create_task(self._sweep(reconcilers.values()), name="sweep"))
                await asyncio.sleep(0)  # so that they have begun, see handlers.run
                self._canary, self._waits_for = canary, None
                log.info("the operator works", namespaces=sorted(namespaces or ()) or "all")
                await handlers.run(
                    handlers.registry(watching, canary, lambda: connection.for_kopf(self._place.kubeconfig)),
                    namespaces=None if namespaces is None else namespaces | {options.release_namespace},
                    stop=self._stop,
                )
                self._canary, self._waits_for = None, "ending"
                workers.stop()
                await asyncio.wait([working], timeout=FINISH_S)
                working.cancel()
            for task in beside:
                task.cancel()

    async def _keep(self, leadership: Leadership) -> None:
        try:
            await leadership.keep()
        except LeaseLost:
            self._on_lease_lost()
            raise

    async def _list_all(self, cluster: KubernetesCluster, known: Known, watching: Watching) -> None:
        """Learn of all our objects before the first reconcile, for some decisions need to know of all."""
        while True:
            try:
                for kind in OURS:
                    async for manifest in cluster.listed(kind):
                        watching.ours(None, manifest)
            except NotThere:
                self._wait_for("the kinds WhatsAppNumber and BotSchedule are not installed: apply crds/")
            except ClusterError as error:
                self._wait_for(f"our objects cannot be listed: {error}")
            else:
                known.complete = True
                return
            await asyncio.sleep(START_RETRY_S)

    async def _sweep(self, reconcilers: Iterable[Reconciler]) -> None:
        """Now, and then as often as everything is looked at: what outlived its object wakes nobody."""
        while True:
            for each in reconcilers:
                if isinstance(each, Sweeping):
                    try:
                        await each.sweep()
                    except ClusterError as error:
                        log.warning("what outlived its object was not looked for", error=str(error))
            await asyncio.sleep(self._options.resync_s)

    async def _hand_over(self, reconcilers: Iterable[Reconciler]) -> None:
        """Before the Lease is released, so that whoever takes it finds what was left."""
        for each in reconcilers:
            if isinstance(each, HandingOver):
                try:
                    async with asyncio.timeout(HAND_OVER_S):
                        await each.hand_over()
                except (ClusterError, TimeoutError) as error:
                    log.info("nothing was left to the next process", error=str(error) or "no answer in time")

    def _wait_for(self, reason: str) -> None:
        if self._waits_for != reason:
            log.warning("the operator cannot work yet", reason=reason)
        self._waits_for = reason

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Whether `work` was done before somebody asked to stop."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if task.cancelled():
            return False
        task.result()
        return True
