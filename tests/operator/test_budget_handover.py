"""What an operator begins with depends on what the ones before it left, and on how often they left nothing."""

import asyncio
import contextlib
import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.interface import ClusterConflict, ClusterRefused, Manifest
from waypost.operator.meta.budget import Remaining
from waypost.operator.meta.budget_handover import (
    KEPT,
    KEY,
    NAME,
    OVERLAP_S,
    BudgetHandover,
    Record,
    opening_after,
    read,
)

from .installation import NAME as NAME_OF_NUMBER
from .installation import NAMESPACE, RELEASE, WABA, Clock, installation, number, secret

pytestmark = pytest.mark.anyio

NOW = 10_000.0
HALF = Remaining(0.06, {WABA: 0.015})


@pytest.mark.parametrize(
    ("ages_s", "share"),
    [((), 0.15), ((60,), 0.075), ((60, 10), 0.0375), ((3660,), 0.15), ((3659,), 0.075), ((7200, 3599), 0.075)],
    ids=["first", "second", "third", "long ago", "an hour ago, maybe with somebody beside it", "one of two"],
)
def test_each_start_that_knows_of_nothing_halves_what_the_next_one_gets(
    ages_s: tuple[float, ...], share: float
) -> None:
    """And whoever came before may still be at work for a minute, so nothing comes in as long."""
    grants = tuple(NOW - age_s for age_s in ages_s)
    begun = opening_after(Record(NOW - 1, grants), NOW)
    assert (begun.left, begun.age_s) == (Remaining(share), -OVERLAP_S)
    assert begun.record == Record(NOW, (*(at for at in grants if at > NOW - 3660), NOW))


@pytest.mark.parametrize(("now", "at", "age_s"), [(NOW + 90, NOW + 90, 90), (NOW - 90, NOW, 0)], ids=["on", "back"])
def test_a_start_after_an_orderly_end_goes_on_with_what_was_left(now: float, at: float, age_s: float) -> None:
    """It is no grant; and a record from the future counts, but nothing has come in since."""
    begun = opening_after(Record(NOW, (NOW - 60,), HALF), now)
    assert (begun.left, begun.age_s) == (HALF, age_s)
    assert begun.record == Record(at, (NOW - 60,), None)


def test_a_clock_that_went_back_makes_no_start_older() -> None:
    """It is recorded no earlier than the one before it, so that it counts as long once the clock is right again."""
    begun = opening_after(Record(NOW, (NOW,)), NOW - 7200)
    assert begun.record == Record(NOW, (NOW, NOW))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"yesterday",
        b"\xff",
        b"[]",
        b'{"at": "now"}',
        b'{"at": 1e999}',
        b'{"at": NaN}',
        b'{"at": -1}',
        b'{"at": 4e9}',
        b'{"grants": 5}',
        b'{"at": 9000, "grants": [9001]}',
        b'{"at": 9000, "grants": [' + b",".join([b"8999"] * 33) + b"]}",
        b'{"left": {"others": []}}',
        b'{"left": {"others": 30}}',
        b'{"left": {"others": -1e308}}',
        b'{"left": {"others": 0.1, "accounts": {"1": -12.6}}}',
        b'{"x": ' + b"[" * 200_000,
    ],
    ids=lambda content: content[:50].decode(errors="replace") or "nothing",
)
def test_what_somebody_else_wrote_there_grants_nothing(content: bytes) -> None:
    """Nothing is known of this hour then; what comes in can be spent all the same, and an hour later all is as ever."""
    begun = opening_after(read(content, NOW), NOW)
    assert begun.left.others == pytest.approx(0, abs=1e-9)
    assert begun.record == Record(NOW, (NOW,) * KEPT)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> FileCluster:
    return FileCluster(clock=clock)


async def begun(cluster: FileCluster, clock: Clock, limit: int = 200) -> BudgetHandover:
    """An operator that starts now."""
    handover = BudgetHandover(cluster, RELEASE, limit, clock=clock, steady=clock)
    await handover.begin()
    return handover


def spent(handover: BudgetHandover, most: int = 1000) -> int:
    """How many calls it can make right now."""
    return next((calls for calls in range(most) if handover.budget.take(WABA, routine=False)), most)


async def written(cluster: FileCluster, clock: Clock) -> Record:
    """What one that begins now would find."""
    stored = await cluster.config_map(RELEASE, NAME)
    assert stored is not None
    return read(stored.data[KEY], clock())


async def test_rollouts_cost_nothing(cluster: FileCluster, clock: Clock) -> None:
    """Each process uses a call and ends in order; the tenth has what one that never ended would have."""
    endless = await begun(FileCluster(clock=clock), clock)
    for _ in range(9):
        handover = await begun(cluster, clock)
        clock.advance(60)
        assert spent(handover, most=1) == spent(endless, most=1) == 1
        await handover.end()
        clock.advance(12)
    assert spent(await begun(cluster, clock)) == spent(endless) == 37


async def test_an_end_without_order_costs_half(cluster: FileCluster, clock: Clock) -> None:
    """That one told nobody what it had left."""
    assert [spent(await begun(cluster, clock)) for _ in range(3)] == [30, 15, 7]
    clock.advance(3661)
    assert spent(await begun(cluster, clock)) == 30


async def test_what_was_left_is_used_once(cluster: FileCluster, clock: Clock) -> None:
    """The one that took it over and was killed has used it up, for all that is known."""
    first = await begun(cluster, clock)
    assert spent(first, most=10) == 10
    await first.end()
    clock.advance(61)
    assert spent(await begun(cluster, clock)) == 20
    assert spent(await begun(cluster, clock)) == 15


async def test_clocks_of_nodes_that_differ_add_once_what_they_differ_by(cluster: FileCluster, clock: Clock) -> None:
    """An operator that moves between two nodes, one of them ten minutes ahead, does not gain them with each move."""
    calls = []
    for ahead_s in (0.0, 600.0) * 5:
        wall = Clock(clock() + ahead_s)
        handover = BudgetHandover(cluster, RELEASE, 200, clock=wall, steady=clock)
        await handover.begin()
        clock.advance(10)
        wall.advance(10)
        calls.append(spent(handover))
        await handover.end()
    assert (calls[0], sum(calls[1:])) == (30, 17)


async def test_a_limit_that_is_changed_with_a_rollout_leaves_meta_s_refusal_as_it_was(
    cluster: FileCluster, clock: Clock
) -> None:
    """It is what one does about a refusal: too high a limit is lowered, too low a one raised."""
    for limit in (5000, 200, 20, 5000):
        handover = await begun(cluster, clock, limit)
        handover.budget.block(WABA, 3600)
        await handover.end()
    assert (await begun(cluster, clock)).budget.take(WABA, routine=False) == pytest.approx(3636, abs=0.1)


@pytest.mark.parametrize("for_s", [86_400.0, 1e300])
async def test_the_longest_refusal_can_be_read_by_the_next_process(
    cluster: FileCluster, clock: Clock, for_s: float
) -> None:
    """What is no more than that is nobody's record."""
    handover = await begun(cluster, clock)
    handover.budget.block(WABA, for_s)
    await handover.end()
    assert (await written(cluster, clock)).left is not None
    assert (await begun(cluster, clock)).budget.take(WABA, routine=False) == pytest.approx(86_436, abs=0.1)


async def test_a_config_map_without_the_record_is_none(cluster: FileCluster, clock: Clock) -> None:
    """As if it were not there, and what else is in it stays."""
    metadata = {"name": NAME, "namespace": RELEASE}
    await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"note": "ours"}})
    assert [spent(await begun(cluster, clock)) for _ in range(2)] == [30, 15]
    stored = await cluster.config_map(RELEASE, NAME)
    assert stored is not None
    assert set(stored.data) == {KEY, "note"}


async def test_one_that_was_overtaken_leaves_nothing(cluster: FileCluster, clock: Clock) -> None:
    """Its node was thought lost: another one has begun with a grant, and the next one must not get both."""
    first, _ = await begun(cluster, clock), await begun(cluster, clock)
    with pytest.raises(ClusterConflict):
        await first.end()
    assert (await written(cluster, clock)).left is None
    assert first.budget.take(WABA, routine=False) > 0


async def test_of_two_that_begin_at_once_one_begins_again(clock: Clock) -> None:
    """Both found what was left, or nothing at all; only one may have it."""

    class Rival(FileCluster):
        """Lets another operator begin between the other's look and its write."""

        other: BudgetHandover | None = None

        async def config_map(self, namespace: str, name: str):  # type: ignore[no-untyped-def]
            found = await super().config_map(namespace, name)
            if self.other is not None:
                other, self.other = self.other, None
                await other.begin()
            return found

    cluster = Rival(clock=clock)
    for calls in ([30, 15], [7, 3]):
        other = cluster.other = BudgetHandover(cluster, RELEASE, 200, clock=clock, steady=clock)
        handover = BudgetHandover(cluster, RELEASE, 200, clock=clock, steady=clock)
        with pytest.raises(ClusterConflict):
            await handover.begin()
        assert spent(handover) == 0
        await handover.begin()
        assert [spent(other), spent(handover)] == calls


async def test_a_process_writes_when_it_begins_and_when_it_ends(cluster: FileCluster, clock: Clock) -> None:
    """A write per call would be the hot loop that this is instead of."""
    versions = []
    handover = BudgetHandover(cluster, RELEASE, 200, clock=clock, steady=clock)
    for step in (handover.end, handover.begin, handover.begin, handover.begin, handover.end, handover.end):
        await step()
        found = await cluster.config_map(RELEASE, NAME)
        versions.append(found and found.resource_version)
    assert versions == [None, "1", "1", "1", "2", "2"]


async def test_an_endless_crash_loop_does_not_fill_the_config_map(cluster: FileCluster, clock: Clock) -> None:
    """The latest starts are enough to know that nothing is left."""
    for _ in range(2 * KEPT):
        await begun(cluster, clock)
    assert len((await written(cluster, clock)).grants) == KEPT


class Unwritable(FileCluster):
    """An API server that takes no ConfigMap."""

    async def create(self, manifest: Manifest) -> Manifest:
        raise ClusterRefused("Forbidden", "configmaps is forbidden")


async def test_what_cannot_be_written_down_is_not_spent(clock: Clock) -> None:
    """Or a crash loop of an operator that may not write would be counted by nobody."""
    handover = BudgetHandover(Unwritable(clock=clock), RELEASE, 200, clock=clock, steady=clock)
    with pytest.raises(ClusterRefused):
        await handover.begin()
    assert spent(handover) == 0


async def test_a_deletion_does_not_wait_for_what_cannot_be_written_down() -> None:
    """A finalizer must never hang, and letting go of a number needs none of its account's calls."""
    async with installation() as it:
        it.cluster.put(secret())
        it.cluster.put(number())
        await it.settle()
        unwritable = Unwritable(clock=it.clock)
        unwritable.load(it.cluster.dump())
        it.cluster = unwritable
        it.reconciler = it.operator(handover=BudgetHandover(unwritable, RELEASE, 200, clock=it.clock, steady=it.clock))
        with pytest.raises(ClusterRefused):
            await it.reconcile()
        unwritable.remove("WhatsAppNumber", NAMESPACE, NAME_OF_NUMBER)
        await it.reconcile()
        assert unwritable.get("WhatsAppNumber", NAMESPACE, NAME_OF_NUMBER) is None


async def test_the_record_holds_ids_and_counts_only() -> None:
    """No token, no secret, no phone number; the account's id stands in the spec, too."""
    async with installation() as it:
        it.cluster.put(secret())
        it.cluster.put(number())
        handover = BudgetHandover(it.cluster, RELEASE, 200, clock=it.clock, steady=it.clock)
        it.reconciler = it.operator(handover=handover)
        await it.settle()
        await it.reconciler.hand_over()
        found = await written(it.cluster, it.clock)
        assert found.left is not None
        assert set(found.left.accounts) == {WABA}
        assert found.left.accounts[WABA] < found.left.others
        stored = await it.cluster.config_map(RELEASE, NAME)
        assert stored is not None
        assert set(stored.data) == {KEY}


@dataclass
class Life:
    """Of one process; times in seconds."""

    moments: list[tuple[float, bool]]
    """Waits, after each of which it spends whatever it has, or nothing."""
    ends: str
    back: float
    """By how much the clock of the wall goes back before it."""
    limit: int
    """Of calls per hour, as it is set for this process."""
    pause: float
    """Until the next one begins; below zero: the next one begins as long before the end of this one."""


LIVES = st.builds(
    Life,
    moments=st.lists(st.tuples(st.floats(0, 900) | st.just(0.0) | st.just(1440.0), st.booleans()), max_size=8),
    ends=st.sampled_from(["in order", "killed", "unwritten", "overwritten"]),
    back=st.just(0.0) | st.floats(0, 10_000),
    limit=st.sampled_from([20, 200, 333, 5000]),
    pause=st.sampled_from([0.0, -OVERLAP_S]) | st.floats(-OVERLAP_S, 4000),
)


async def calls_of(lives: list[Life]) -> list[tuple[float, float]]:
    """When calls were made, and which share of an hour's calls each was."""
    steady, lag = Clock(), 0.0
    cluster = FileCluster(clock=steady)
    made: list[tuple[float, float]] = []
    before: tuple[BudgetHandover, Life] | None = None

    def spend(handover: BudgetHandover, life: Life) -> None:
        while handover.budget.take(WABA, routine=False) == 0:
            made.append((steady(), 1 / life.limit))

    async def end(handover: BudgetHandover, life: Life) -> None:
        if life.ends == "in order":
            with contextlib.suppress(ClusterConflict):  # it was overtaken
                await handover.end()
        elif life.ends == "overwritten":
            stray = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": RELEASE}}
            await cluster.apply({**stray, "data": {KEY: "{}x"}}, manager="somebody")

    for life in lives:
        lag += life.back
        behind = lag
        clock = lambda: steady() - behind  # noqa: B023, E731 - begun at once
        handover = BudgetHandover(cluster, RELEASE, life.limit, clock=clock, steady=steady)
        await handover.begin()
        if before is not None:
            for wait in (0.0, -before[1].pause):
                steady.advance(wait)
                spend(*before)
                spend(handover, life)
            await end(*before)
            before = None
        for wait, spends in life.moments:
            steady.advance(wait)
            if spends:
                spend(handover, life)
        if life.pause < 0:
            before = (handover, life)
        else:
            await end(handover, life)
            steady.advance(life.pause)
    return made


def most_in_an_hour(made: Sequence[tuple[float, float]]) -> float:
    """What the calls of any hour were together, as a share of an hour's."""
    moments = [at for at, _ in made]
    until = [0.0, *itertools.accumulate(share for _, share in made)]
    within = (until[bisect_left(moments, at + 3600)] - until[index] for index, at in enumerate(moments))
    return round(max(within, default=0.0), 9)


@settings(deadline=None, max_examples=200)
@given(lives=st.lists(LIVES, min_size=1, max_size=12))
def test_no_hour_sees_more_calls_than_the_limit_whoever_makes_them(lives: list[Life]) -> None:
    """However processes end, overlap, write over each other's record, and whatever a clock does that only goes back.

    With limits that differ: together no more than the shares of them that are an hour's.
    """
    assert most_in_an_hour(asyncio.run(calls_of(lives))) <= 1


@pytest.mark.parametrize("ends", ["in order", "killed", "unwritten", "overwritten"])
@pytest.mark.parametrize("pause", [0.0, -10.0, 5.0])
async def test_a_loop_of_starts_stays_below_the_limit(ends: str, pause: float) -> None:
    """Each process uses up whatever it has and lives for ten seconds; first of all everything was saved up."""
    saved = Life([(3600.0, False)], "in order", 0.0, 200, 0.0)
    lives = [Life([(0.0, True), (10.0, True)], ends, 0.0, 200, pause) for _ in range(600)]
    assert most_in_an_hour(await calls_of([saved, *lives])) <= 1
