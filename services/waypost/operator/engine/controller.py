"""One reconcile of one object: read it as it is now, call its reconciler, tell how it went, and when to come again."""

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
from waypost.operator.engine.object_cache import Key, Known
from waypost.operator.engine.outcome import Result
from waypost.telemetry import metrics, tracing

log = structlog.get_logger(__name__)

DEADLINE_S = 180.0
"""Of one reconcile. Its calls have deadlines of their own; this is for their sum, and for what nobody thought of."""

CONFLICT_S = 1.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 300.0
JITTER = 0.1
"""Part of the resync interval by which it varies, so that objects made together do not stay together."""


class Reconciler(Protocol):
    """What makes objects of one kind true. Both may raise `ClusterError`; nothing else is expected of them."""

    async def reconcile(self, manifest: Manifest) -> Result:
        """Observe, plan, act; write the status if something changed."""

    async def finalize(self, manifest: Manifest) -> Result:
        """Take back what deletion takes back, and remove the finalizer once it may go."""


@runtime_checkable
class Sweeping(Protocol):
    """A reconciler whose children no owner reference ties to their object."""

    async def sweep(self) -> object:
        """Delete children whose object is gone, whoever took its finalizer away. May raise `ClusterError`."""


@runtime_checkable
class HandingOver(Protocol):
    """A reconciler that leaves something to the next process."""

    async def hand_over(self) -> None:
        """Write it down, now that no reconcile is under way any more. May raise `ClusterError`."""


class Controller:
    """Called with a key; returns in how many seconds to come again, None: not before something changes.

    Reconcilers keep the back-off of what Meta refuses in the status. What is kept here is only that of reconciles that
    could not be done at all, and a restart may forget it.
    """

    def __init__(
        self,
        cluster: Cluster,
        known: Known,
        reconcilers: Mapping[str, Reconciler],
        *,
        resync_s: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._cluster = cluster
        self._known = known
        self._reconcilers = reconcilers
        self._resync_s = resync_s
        self._draw = draw
        self._failures: dict[Key, int] = {}

    async def __call__(self, key: Key) -> float | None:
        """Reconcile once. Never raises, except for being cancelled."""
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
            result, again_s = "error", None
            try:
                async with asyncio.timeout(DEADLINE_S):
                    result, again_s = await self._once(key)
            except ClusterConflict as caught:
                error, result = caught, "conflict"
            except ClusterAway as caught:
                error, result = caught, "away"
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

    async def _once(self, key: Key) -> tuple[str, float | None]:
        manifest = await self._cluster.read(*key)
        if manifest is None:
            self._known.drop(key)
            return "gone", None
        gauges.token(manifest, now=time.time())
        reconciler = self._reconcilers[key[0]]
        metadata = manifest["metadata"]
        if metadata.get("deletionTimestamp"):
            if not any(each.startswith(f"{GROUP}/") for each in metadata.get("finalizers") or ()):
                return "gone", None  # others keep it, we do not
            found = await reconciler.finalize(manifest)
        else:
            found = await reconciler.reconcile(manifest)
        usual = self._resync_s * (1 + JITTER * (2 * self._draw() - 1))
        again_s = usual if found.requeue_after_s is None else min(found.requeue_after_s, usual)
        return found.outcome, again_s

    def _retry_s(self, key: Key, result: str) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        if result == "conflict" and failures <= 5:
            return CONFLICT_S * self._draw()
        longest = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 20))
        return longest * (0.5 + 0.5 * self._draw())
