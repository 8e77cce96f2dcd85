"""What an operator may begin with depends on how often others began before it."""

import pytest

from waypost.cli.filecluster import FileCluster
from waypost.operator.cluster import ClusterRefused, Manifest
from waypost.operator.starts import KEPT, KEY, NAME, Starts, share_of_start

from .installation import NAME as NAME_OF_NUMBER
from .installation import NAMESPACE, RELEASE, Clock, installation, number, secret

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("ages_s", "share"),
    [((), 0.15), ((60,), 0.075), ((60, 10), 0.0375), ((3600,), 0.15), ((7200, 3599), 0.075), ((-5,), 0.075)],
    ids=["first", "second", "third", "an hour ago", "one of two", "a clock that is ahead"],
)
def test_each_start_of_an_hour_halves_what_the_next_one_has(ages_s: tuple[float, ...], share: float) -> None:
    """What is an hour old does not count any more."""
    assert share_of_start([10_000.0 - age_s for age_s in ages_s], 10_000.0) == pytest.approx(share)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> FileCluster:
    return FileCluster(clock=clock)


async def begun(cluster: FileCluster, clock: Clock) -> float:
    """What an operator that starts now may begin with."""
    return await Starts(cluster, RELEASE, clock=clock).share()


async def test_the_next_process_knows_of_the_one_before(cluster: FileCluster, clock: Clock) -> None:
    """Though that one was killed, and told nobody."""
    assert [await begun(cluster, clock), await begun(cluster, clock)] == [0.15, 0.075]
    clock.advance(3601)
    assert await begun(cluster, clock) == 0.15


async def test_a_process_writes_its_start_down_once(cluster: FileCluster, clock: Clock) -> None:
    """A write per call would be the hot loop that this is instead of."""
    starts = Starts(cluster, RELEASE, clock=clock)
    assert [await starts.share() for _ in range(3)] == [0.15] * 3
    assert await begun(cluster, clock) == 0.075


async def test_an_endless_crash_loop_does_not_fill_the_config_map(cluster: FileCluster, clock: Clock) -> None:
    """The latest starts are enough to know that nothing is left."""
    for _ in range(2 * KEPT):
        await begun(cluster, clock)
    stored = await cluster.config_map(RELEASE, NAME)
    assert stored is not None
    assert len(stored.data[KEY].split()) == KEPT


async def test_what_somebody_else_wrote_there_is_ignored(cluster: FileCluster, clock: Clock) -> None:
    """The operator begins all the same."""
    stray = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": RELEASE}}
    await cluster.apply(stray | {"data": {KEY: "yesterday -5 \u0663"}}, manager="somebody")
    assert await begun(cluster, clock) == 0.15


class Unwritable(FileCluster):
    """An API server that takes no ConfigMap."""

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        if manifest["kind"] == "ConfigMap":
            raise ClusterRefused("Forbidden", "configmaps is forbidden")
        return await super().apply(manifest, manager=manager)


async def test_what_cannot_be_written_down_is_not_spent(clock: Clock) -> None:
    """Or a crash loop of an operator that may not write would be counted by nobody."""
    with pytest.raises(ClusterRefused):
        await begun(Unwritable(clock=clock), clock)


async def test_a_deletion_does_not_wait_for_what_cannot_be_written_down() -> None:
    """A finalizer must never hang, and letting go of a number needs none of its account's calls."""
    async with installation() as it:
        it.cluster.put(secret())
        it.cluster.put(number())
        await it.settle()
        unwritable = Unwritable(clock=it.clock)
        unwritable.load(it.cluster.dump())
        it.cluster = unwritable
        it.reconciler = it.operator(starts=Starts(unwritable, RELEASE, clock=it.clock))
        with pytest.raises(ClusterRefused):
            await it.reconcile()
        unwritable.remove("WhatsAppNumber", NAMESPACE, NAME_OF_NUMBER)
        await it.reconcile()
        assert unwritable.get("WhatsAppNumber", NAMESPACE, NAME_OF_NUMBER) is None
