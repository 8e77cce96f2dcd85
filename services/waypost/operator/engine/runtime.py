"""Assembles the operator from its parts, and starts and ends them in the right order."""

import asyncio
import contextlib
import functools
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
from waypost.operator.engine.controller import Controller, Reconciler, SupportsHandOver, SupportsSweep, SupportsWatch
from waypost.operator.engine.event_router import EventRouter
from waypost.operator.engine.object_cache import ObjectCache
from waypost.operator.engine.workers import CONCURRENCY, Workers
from waypost.operator.options import OperatorOptions

log = structlog.get_logger(__name__)

KINDS_MISSING = (
    "the kinds WhatsAppNumber and BotSchedule are not installed: set crds.enabled in the chart, or apply crds/"
)
START_RETRY_S = 3.0
FINISH_S = 25.0
"""Seconds that running reconciles get to finish when the operator ends. A Graph call may take 30 s; a pod's grace
period is a minute."""
HAND_OVER_S = 3.0
"""Longest time to write the record for the next process, in seconds. A process that lost its Lease has more time than
this before it exits."""


@dataclass(frozen=True)
class RuntimeOptions:
    """Options of this process only. `OperatorOptions`, in contrast, are shared by all replicas."""

    identity: str
    """Name of this replica, which no other replica has. It starts with the pod's name."""
    kubeconfig: Path | None = None
    replicas: int = 1
    concurrency: int = CONCURRENCY
    timeouts: connection.Timeouts = connection.TIMEOUTS


class Operator:
    """The operator, which runs until `stop()`, a signal, or an error that only a new process can recover from."""

    def __init__(
        self,
        options: OperatorOptions,
        runtime: RuntimeOptions,
        reconcilers: Callable[[Cluster], Mapping[str, Reconciler]],
        *,
        on_lease_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_lease_lost = on_lease_lost
        self._options = options
        self._runtime = runtime
        self._reconcilers = reconcilers
        self._stop = asyncio.Event()
        self._canary: Canary | None = None
        self._waits_for: str | None = "starting"

    def stop(self) -> None:
        """Asks the operator to end. Reconciles that are running are finished first."""
        self._stop.set()

    def not_ready(self) -> str | None:
        """Returns the reason why this operator cannot work, or None. It may be called from any thread.

        A standby counts as ready.
        """
        return self._waits_for

    def not_alive(self) -> str | None:
        """Returns the reason why a new process is needed, or None. It may be called from any thread."""
        return None if self._canary is None else self._canary.unhealthy()

    async def run(self) -> None:
        """Runs the operator until its end.

        Raises `NoConnection`, `LeaseLost`, or the error that ended a watch stream for good.
        """
        options, runtime = self._options, self._runtime
        cache = ObjectCache()
        calls = KubernetesCalls(
            await connection.client(runtime.kubeconfig),
            lambda: connection.configuration(runtime.kubeconfig),
            timeouts=runtime.timeouts,
        )
        cluster = KubernetesCluster(
            calls,
            cache,
            release_namespace=options.release_namespace,
            namespaces=options.namespaces,
            instance=runtime.identity,
        )
        leadership = Leadership(cluster, options.release_namespace, runtime.identity) if runtime.replicas > 1 else None
        try:
            if leadership is not None:
                self._waits_for = None
                if not await self._unless_stopped(leadership.acquire()):
                    return
            reconcilers = self._reconcilers(cluster)
            try:
                await self._lead(cluster, cache, leadership, reconcilers)
            finally:
                await self._hand_over(reconcilers.values())
        finally:
            if leadership is not None:
                await leadership.release()
            await cluster.close()

    async def _lead(
        self,
        cluster: KubernetesCluster,
        cache: ObjectCache,
        leadership: Leadership | None,
        reconcilers: Mapping[str, Reconciler],
    ) -> None:
        options = self._options
        controller = Controller(cluster, cache, reconcilers, resync_s=options.resync_s)
        workers = Workers(controller, concurrency=self._runtime.concurrency)
        namespaces = None if options.namespaces is None else frozenset(options.namespaces)
        router = EventRouter(cache, workers, resync_s=options.resync_s, namespaces=namespaces)
        canary = Canary(cluster, options.release_namespace)
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(self._hold(leadership), name="lease")] if leadership is not None else []
            if await self._unless_stopped(self._list_all(cluster, cache, router)):
                working = group.create_task(workers.run(), name="workers")
                background.append(group.create_task(canary.run(), name="canary"))
                background.append(group.create_task(self._sweep(reconcilers.values()), name="sweep"))
                for each in reconcilers.values():
                    if isinstance(each, SupportsWatch):
                        wake = functools.partial(workers.wake, urgent=False)
                        background.append(group.create_task(each.watch(wake), name="watch"))
                await asyncio.sleep(0)  # so that they start before kopf, see handlers.run
                self._canary, self._waits_for = canary, None
                log.info("the operator works", namespaces=sorted(namespaces or ()) or "all")
                await handlers.run(
                    handlers.registry(router, canary, lambda: connection.for_kopf(self._runtime.kubeconfig)),
                    namespaces=None if namespaces is None else namespaces | {options.release_namespace},
                    stop=self._stop,
                    timeouts=self._runtime.timeouts,
                )
                self._canary, self._waits_for = None, "ending"
                workers.stop()
                await asyncio.wait([working], timeout=FINISH_S)
                working.cancel()
            for task in background:
                task.cancel()

    async def _hold(self, leadership: Leadership) -> None:
        try:
            await leadership.keep()
        except LeaseLost:
            self._on_lease_lost()
            raise

    async def _list_all(self, cluster: KubernetesCluster, cache: ObjectCache, router: EventRouter) -> None:
        """Lists all our objects before the first reconcile, because some decisions depend on all of them."""
        while True:
            try:
                for kind in OURS:
                    async for manifest in cluster.listed(kind):
                        router.on_own(None, manifest)
            except NotThere:
                self._wait_for(KINDS_MISSING)
            except ClusterError as error:
                self._wait_for(f"the numbers and schedules cannot be listed: {error}")
            else:
                cache.is_complete = True
                return
            await asyncio.sleep(START_RETRY_S)

    async def _sweep(self, reconcilers: Iterable[Reconciler]) -> None:
        """Runs the sweep of each reconciler now and once per resync interval.

        This is necessary because children that outlived their object cause no event.
        """
        while True:
            for each in reconcilers:
                if isinstance(each, SupportsSweep):
                    try:
                        await each.sweep()
                    except ClusterError as error:
                        log.warning("children that outlived their object could not be swept", error=str(error))
            await asyncio.sleep(self._options.resync_s)

    async def _hand_over(self, reconcilers: Iterable[Reconciler]) -> None:
        """Writes the record for the next process.

        The Lease is released only after that, so that the next leader finds the record.
        """
        for each in reconcilers:
            if isinstance(each, SupportsHandOver):
                try:
                    async with asyncio.timeout(HAND_OVER_S):
                        await each.hand_over()
                except (ClusterError, TimeoutError) as error:
                    log.info("the record for the next process was not written", error=str(error) or "no answer in time")

    def _wait_for(self, reason: str) -> None:
        if self._waits_for != reason:
            log.warning("the operator cannot work yet", reason=reason)
        self._waits_for = reason

    async def _unless_stopped(self, work: Awaitable[None]) -> bool:
        """Waits for `work` or for `stop`. Returns whether `work` was done first."""
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
