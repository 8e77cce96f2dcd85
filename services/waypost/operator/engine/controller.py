"""Reconciles one object once: reads it, calls its reconciler, counts the result, and decides when it is due again."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode

from waypost.operator.api.number_models import GROUP
from waypost.operator.cluster.interface import Cluster, ClusterAway, ClusterConflict, ClusterRefused, Manifest
from waypost.operator.engine import gauges
from waypost.operator.engine.object_cache import Key, ObjectCache
from waypost.operator.engine.outcome import NoOutcome, Outcome, Result
from waypost.telemetry import metrics, tracing

log = structlog.get_logger(__name__)

DEADLINE_S = 180.0
"""Longest time of one reconcile, in seconds. Its calls have deadlines of their own; this deadline limits their sum."""

CONFLICT_S = 1.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 300.0
JITTER = 0.1
"""Fraction of the resync interval by which the interval varies, so that objects created together are not resynced
together."""


class Reconciler(Protocol):
    """Brings objects of one kind to their desired state. Its methods may raise `ClusterError` but no other error."""

    async def reconcile(self, manifest: Manifest) -> Result:
        """Observes, plans and acts. Writes the status if something changed. Returns the result."""

    async def finalize(self, manifest: Manifest) -> Result:
        """Undoes what the object has caused, as far as the object asks for this on deletion.

        Removes the finalizer when the object may be deleted.
        """


@runtime_checkable
class SupportsSweep(Protocol):
    """A reconciler that must look for orphans itself, because its children have no owner reference to their object."""

    async def sweep(self) -> object:
        """Deletes children whose object is gone without a run of its finalizer. May raise `ClusterError`."""


@runtime_checkable
class SupportsWatch(Protocol):
    """A reconciler that depends on something for which the API server sends no watch event."""

    async def watch(self, wake: Callable[[Key], None]) -> None:
        """Observes that thing until this task is cancelled. Calls `wake` for each object that must be reconciled."""


@runtime_checkable
class SupportsHandOver(Protocol):
    """A reconciler that leaves a record for the next process."""

    async def hand_over(self) -> None:
        """Writes the record for the next process. May raise `ClusterError`.

        When this method is called, no reconcile runs any more.
        """


class Controller:
    """A callable that reconciles the object of a key and returns in how many seconds the object is due again.

    None means that the object is due only when something changes. After a refusal by Meta, the reconcilers
    compute the back-off and store it in the status. The controller computes only the back-off of reconciles that
    could not be done at all. It stores this back-off in memory, because a restart may forget it.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: ObjectCache,
        reconcilers: Mapping[str, Reconciler],
        *,
        resync_s: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._reconcilers = reconcilers
        self._resync_s = resync_s
        self._draw = draw
        self._failures: dict[Key, int] = {}

    async def __call__(self, key: Key) -> float | None:
        """Reconciles the object of `key` once. Raises no error, except when the task is cancelled."""
        kind, namespace, name = key
        started = time.monotonic()
        with (
            structlog.contextvars.bound_contextvars(kind=kind, namespace=namespace, object=name),
            tracing.tracer().start_as_current_span(
                f"reconcile {kind}",
                context=Context(),
                kind=SpanKind.INTERNAL,
                attributes={"waypost.kind": kind, "waypost.namespace": namespace, "waypost.name": name},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            error: Exception | None = None
            result: Outcome | NoOutcome = NoOutcome.ERROR
            again_s = None
            try:
                async with asyncio.timeout(DEADLINE_S):
                    result, again_s = await self._once(key)
            except ClusterConflict as caught:
                error, result = caught, NoOutcome.CONFLICT
            except ClusterAway as caught:
                error, result = caught, NoOutcome.AWAY
                log.warning("the API server is away", error=str(caught))
            except ClusterRefused as caught:
                error = caught
                log.error("the API server refuses", error=str(caught))  # noqa: TRY400 - says all there is to say
            except TimeoutError as caught:
                error = caught
                log.error("a reconcile took too long and was given up", seconds=DEADLINE_S)  # noqa: TRY400 - see above
            except Exception as caught:  # one object's defect must not stop the others
                error = caught
                log.exception("a reconcile failed by a defect")
            if error is None:
                self._failures.pop(key, None)
            else:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", type(error).__name__)
                metrics.reconcile_errors_total.labels(kind=kind, error=type(error).__name__).inc()
                again_s = self._retry_s(key, result)
            span.set_attribute("waypost.result", result)
            metrics.reconcile_total.labels(kind=kind, result=result).inc()
            metrics.reconcile_seconds.labels(kind=kind).observe(time.monotonic() - started)
            return again_s

    async def _once(self, key: Key) -> tuple[Outcome | NoOutcome, float | None]:
        manifest = await self._cluster.read(*key)
        if manifest is None:
            self._cache.drop(key)
            return NoOutcome.GONE, None
        gauges.update_token(manifest, now=time.time())
        reconciler = self._reconcilers[key[0]]
        metadata = manifest["metadata"]
        if metadata.get("deletionTimestamp"):
            if not any(each.startswith(f"{GROUP}/") for each in metadata.get("finalizers") or ()):
                return NoOutcome.GONE, None  # it is only held by finalizers of others
            found = await reconciler.finalize(manifest)
        else:
            found = await reconciler.reconcile(manifest)
        usual = self._resync_s * (1 + JITTER * (2 * self._draw() - 1))
        again_s = usual if found.requeue_after_s is None else min(found.requeue_after_s, usual)
        return found.outcome, again_s

    def _retry_s(self, key: Key, result: Outcome | NoOutcome) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        if result is NoOutcome.CONFLICT and failures <= 5:
            return CONFLICT_S * self._draw()
        longest = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 20))
        return longest * (0.5 + 0.5 * self._draw())
