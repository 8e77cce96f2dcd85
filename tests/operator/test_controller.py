"""The controller decides when an object is reconciled again, and each reconcile updates metrics."""

import time
from collections.abc import Awaitable

import pytest

from waypost.dev.file_cluster import FileCluster
from waypost.operator.api.conditions import timestamp
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine.controller import Controller
from waypost.operator.engine.object_cache import ObjectCache
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.engine.workers import Workers
from waypost.telemetry import metrics

from .installation import NAME, NAMESPACE, NUMBER, Clock, number

pytestmark = pytest.mark.anyio
KEY = ("WhatsAppNumber", NAMESPACE, NAME)
RESYNC_S = 300.0


class Answers:
    """A reconciler that always returns the same result."""

    def __init__(self, requeue_after_s: float | None, outcome: Outcome = Outcome.READY) -> None:
        self._result = Result(requeue_after_s, outcome)

    async def reconcile(self, _manifest: Manifest) -> Result:
        return self._result

    async def finalize(self, _manifest: Manifest) -> Result:
        return self._result


def again_s(
    requeue_after_s: float | None, *, draw: float, cluster: FileCluster | None = None
) -> Awaitable[float | None]:
    """Returns the number of seconds after which the controller wants to reconcile the object again."""
    if cluster is None:
        cluster = FileCluster()
        cluster.put(number())
    reconcilers = {"WhatsAppNumber": Answers(requeue_after_s)}
    return Controller(cluster, ObjectCache(), reconcilers, resync_s=RESYNC_S, draw=lambda: draw)(KEY)


@pytest.mark.parametrize(
    ("requeue_after_s", "draw", "expected_s"),
    [(None, 0.0, 270), (None, 0.5, 300), (None, 1.0, 330), (20, 0.5, 20), (3600, 0.5, 300)],
)
async def test_each_object_is_reconciled_again_within_the_resync_interval(
    requeue_after_s: float | None, draw: float, expected_s: float
) -> None:
    """Each object is reconciled again at the latest after the resync interval, which varies by up to a tenth.

    The variation prevents objects that were created together from being resynced together.
    """
    assert await again_s(requeue_after_s, draw=draw) == pytest.approx(expected_s)


async def test_an_object_that_is_gone_is_not_reconciled_again() -> None:
    """An object that no longer exists is not reconciled again."""
    assert await again_s(None, draw=0.5, cluster=FileCluster()) is None


async def test_each_reconcile_shows_how_long_the_token_lasts() -> None:
    """Each reconcile updates the metric of the days until the token expires.

    Many days may pass without an event, but the alert must come in time.
    """
    cluster = FileCluster()
    made = cluster.put(number())
    soon = timestamp(time.time() + 10.5 * 86_400)
    await cluster.write_status(made, {"token": {"expiresAt": soon}})
    await again_s(None, draw=0.5, cluster=cluster)
    (family,) = metrics.token_days_left.collect()
    days = {sample.labels["number"]: sample.value for sample in family.samples}
    assert days[NUMBER] == pytest.approx(10.5, abs=0.2)


async def test_the_delay_of_a_reconcile_is_measured() -> None:
    """The delay of a reconcile is measured, because it shows when an operator cannot keep up."""
    clock, late = Clock(), metrics.resync_lag_seconds
    before = late._sum.get()

    async def reconcile(_key: object) -> None:
        workers.stop()

    workers = Workers(reconcile, concurrency=1, clock=clock)
    workers.wake(KEY)
    clock.advance(40)
    await workers.run()
    assert late._sum.get() - before == pytest.approx(40)
