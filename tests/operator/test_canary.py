"""The canary proves that the operator's own changes come back to it through the watch."""

import pytest
import structlog

from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.engine.canary import LONGEST_SILENCE_S, NAME, Canary
from waypost.telemetry import metrics

from .apiserver import ApiServer, Fault
from .running import RELEASE, Fleet, until


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.anyio
async def test_each_beat_changes_the_object(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Each beat changes the object, because a write without a change causes no event, and the watch would seem dead."""
    canary = Canary(cluster, RELEASE, clock=Clock())
    for _ in range(3):
        await canary.beat()
    assert len([each for each in api.changes("ConfigMap") if each.name == NAME]) == 3


@pytest.mark.anyio
async def test_silence_is_reported_after_two_minutes(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Silence is reported only after it has lasted more than two minutes. An event ends the report."""
    clock = Clock()
    canary = Canary(cluster, RELEASE, clock=clock)
    clock.now += LONGEST_SILENCE_S
    assert canary.unhealthy() is None
    clock.now += 1
    assert canary.unhealthy() == "nothing was seen through the watch for 121 s"
    canary.seen()
    assert canary.unhealthy() is None


@pytest.mark.anyio
async def test_an_api_server_that_refuses_does_not_end_the_beats(api: ApiServer, cluster: KubernetesCluster) -> None:
    """The canary keeps writing after the API server has refused a write.

    The log says once why the write was refused, and once that writes work again.
    """
    canary = Canary(cluster, RELEASE, clock=Clock())
    api.faults.append(Fault(lambda *_: True, 403, 2))
    with structlog.testing.capture_logs() as lines:
        for _ in range(4):
            await canary.beat()
    assert api.get("ConfigMap", RELEASE, NAME) is not None
    assert [line["event"] for line in lines] == ["the canary cannot be touched", "the canary can be touched again"]
    assert lines[0]["reason"].startswith("Faulty")


def test_the_running_operator_sees_its_own_beat(api: ApiServer, fleet: Fleet) -> None:
    """Each event that comes through the watch resets the silence to zero."""
    fleet.start()
    until(lambda: silence() > 0.3, "nothing has come for a moment")
    changed = {"waypost.dev/beat": "by hand"}
    api.edit("ConfigMap", RELEASE, NAME, lambda each: each["metadata"].update(annotations=changed))
    until(lambda: silence() < 0.3, "it is seen")


def silence() -> float:
    """Returns the silence as `/metrics` shows it."""
    return float(next(iter(metrics.canary_silence_seconds.collect())).samples[0].value)
