"""An operator begins with what earlier operators left of the budget, or with a grant if they left nothing.

Within an hour, each of these grants is smaller than the previous grant.
"""

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
from waypost.operator.cluster.interface import ClusterConflict, ClusterRefused, Manifest, Stored
from waypost.operator.meta.budget import Remaining, pair_of
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

from .installation import APP, NAMESPACE, RELEASE, WABA, Clock, installation, number, secret
from .installation import NAME as NAME_OF_NUMBER

pytestmark = pytest.mark.anyio

NOW = 10_000.0
HALF = Remaining(0.06, {WABA: 0.015})


@pytest.mark.parametrize(
    ("ages_s", "share"),
    [((), 0.15), ((60,), 0.075), ((60, 10), 0.0375), ((3660,), 0.15), ((3659,), 0.075), ((7200, 3599), 0.075)],
    ids=["first", "second", "third", "long ago", "an hour ago, maybe with an overlap", "one of two"],
)
def test_each_start_without_a_handover_halves_the_next_grant(ages_s: tuple[float, ...], share: float) -> None:
    """Each start without a handover halves the next grant, and the refill begins one minute later.

    In that minute the previous operator may still be working.
    """
    grants = tuple(NOW - age_s for age_s in ages_s)
    begun = opening_after(Record(NOW - 1, grants), NOW)
    assert (begun.left, begun.age_s) == (Remaining(share), -OVERLAP_S)
    assert begun.record == Record(NOW, (*(at for at in grants if at > NOW - 3660), NOW))


@pytest.mark.parametrize(("now", "at", "age_s"), [(NOW + 90, NOW + 90, 90), (NOW - 90, NOW, 0)], ids=["on", "back"])
def test_a_start_after_an_orderly_end_continues_with_what_remained(now: float, at: float, age_s: float) -> None:
    """A start after an orderly end continues with the remainder, and does not count as a grant.

    A remainder with a time in the future is used too, but without a refill.
    """
    begun = opening_after(Record(NOW, (NOW - 60,), HALF), now)
    assert (begun.left, begun.age_s) == (HALF, age_s)
    assert begun.record == Record(at, (NOW - 60,), None)


def test_a_clock_that_went_back_makes_no_start_older() -> None:
    """When the clock goes back, a start gets a recorded time that is not earlier than the previous start's.

    So this start still counts when the clock is right again.
    """
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
def test_an_invalid_record_grants_nothing(content: bytes) -> None:
    """An invalid record grants no calls, because the calls of the last hour are then unknown.

    Only refilled calls can be used. After an hour, starts are normal again.
    """
    begun = opening_after(read(content, NOW), NOW)
    assert begun.left.others == pytest.approx(0, abs=1e-9)
    assert begun.record == Record(NOW, (NOW,) * KEPT)


@pytest.fixture
def clock() -> Clock:
    """Returns a clock that the test moves by hand."""
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> FileCluster:
    """Returns a cluster without objects."""
    return FileCluster(clock=clock)


async def begun(cluster: FileCluster, clock: Clock, limit: int = 200) -> BudgetHandover:
    """Starts an operator now, and returns its handover."""
    handover = BudgetHandover(cluster, RELEASE, limit, clock=clock, steady=clock)
    await handover.begin()
    return handover


def spent(handover: BudgetHandover, most: int = 1000) -> int:
    """Makes calls until the budget refuses one, and returns how many calls it allowed."""
    return next((calls for calls in range(most) if handover.budget.take(WABA, routine=False)), most)


async def written(cluster: FileCluster, clock: Clock) -> Record:
    """Returns the record that an operator would find now."""
    stored = await cluster.config_map(RELEASE, NAME)
    assert stored is not None
    return read(stored.data[KEY], clock())


async def test_rollouts_cost_nothing(cluster: FileCluster, clock: Clock) -> None:
    """Orderly restarts cost no calls.

    Nine processes each make one call and end in an orderly way. The tenth process has as many calls left as a
    process that never ended.
    """
    endless = await begun(FileCluster(clock=clock), clock)
    for _ in range(9):
        handover = await begun(cluster, clock)
        clock.advance(60)
        assert spent(handover, most=1) == spent(endless, most=1) == 1
        await handover.end()
        clock.advance(12)
    assert spent(await begun(cluster, clock)) == spent(endless) == 37


async def test_a_killed_process_costs_half_of_the_next_grant(cluster: FileCluster, clock: Clock) -> None:
    """After a process was killed, the next grant is only half, because the process did not record its remainder."""
    assert [spent(await begun(cluster, clock)) for _ in range(3)] == [30, 15, 7]
    clock.advance(3661)
    assert spent(await begun(cluster, clock)) == 30


async def test_what_remained_is_used_only_once(cluster: FileCluster, clock: Clock) -> None:
    """A remainder is used only once.

    If a process took a remainder over and was killed, it is assumed to have used all of it.
    """
    first = await begun(cluster, clock)
    assert spent(first, most=10) == 10
    await first.end()
    clock.advance(61)
    assert spent(await begun(cluster, clock)) == 20
    assert spent(await begun(cluster, clock)) == 15


async def test_a_difference_between_node_clocks_is_gained_once(cluster: FileCluster, clock: Clock) -> None:
    """An operator that moves between two nodes gains the difference between their clocks only once.

    One of the nodes is ten minutes ahead. Further moves gain nothing.
    """
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


async def test_a_limit_changed_with_a_rollout_keeps_meta_s_refusal(cluster: FileCluster, clock: Clock) -> None:
    """A refusal by Meta still holds after a rollout that changes the limit.

    A user who sees a refusal may lower or raise the limit.
    """
    for limit in (5000, 200, 20, 5000):
        handover = await begun(cluster, clock, limit)
        handover.budget.block(WABA, 3600)
        await handover.end()
    assert (await begun(cluster, clock)).budget.take(WABA, routine=False) == pytest.approx(3636, abs=0.1)


@pytest.mark.parametrize("for_s", [86_400.0, 1e300])
async def test_the_longest_refusal_can_be_read_by_the_next_process(
    cluster: FileCluster, clock: Clock, for_s: float
) -> None:
    """The next process can read the record of the longest refusal, because refusals are limited to a day."""
    handover = await begun(cluster, clock)
    handover.budget.block(WABA, for_s)
    await handover.end()
    assert (await written(cluster, clock)).left is not None
    assert (await begun(cluster, clock)).budget.take(WABA, routine=False) == pytest.approx(86_436, abs=0.1)


async def test_a_config_map_without_the_record_counts_as_missing(cluster: FileCluster, clock: Clock) -> None:
    """A ConfigMap without the record counts as missing. The record is added to it, and its other keys are kept."""
    metadata = {"name": NAME, "namespace": RELEASE}
    await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"note": "ours"}})
    assert [spent(await begun(cluster, clock)) for _ in range(2)] == [30, 15]
    stored = await cluster.config_map(RELEASE, NAME)
    assert stored is not None
    assert set(stored.data) == {KEY, "note"}


async def test_an_operator_that_was_replaced_hands_nothing_over(cluster: FileCluster, clock: Clock) -> None:
    """An operator that was replaced by another one cannot hand over its remainder.

    Its node seemed lost, so the other operator began with a grant. The next operator must not get the remainder in
    addition to this grant.
    """
    first, _ = await begun(cluster, clock), await begun(cluster, clock)
    with pytest.raises(ClusterConflict):
        await first.end()
    assert (await written(cluster, clock)).left is None
    assert first.budget.take(WABA, routine=False) > 0


async def test_of_two_operators_that_begin_at_once_one_must_begin_again(clock: Clock) -> None:
    """When two operators begin at once, one of them gets a conflict and must begin again.

    Both find the same remainder, or none. Only one of them may use it.
    """

    class Concurrent(FileCluster):
        """A cluster on which another operator begins between one operator's read and its write."""

        other: BudgetHandover | None = None

        async def config_map(self, namespace: str, name: str) -> Stored | None:
            found = await super().config_map(namespace, name)
            if self.other is not None:
                other, self.other = self.other, None
                await other.begin()
            return found

    cluster = Concurrent(clock=clock)
    for calls in ([30, 15], [7, 3]):
        other = cluster.other = BudgetHandover(cluster, RELEASE, 200, clock=clock, steady=clock)
        handover = BudgetHandover(cluster, RELEASE, 200, clock=clock, steady=clock)
        with pytest.raises(ClusterConflict):
            await handover.begin()
        assert spent(handover) == 0
        await handover.begin()
        assert [spent(other), spent(handover)] == calls


async def test_a_process_writes_only_when_it_begins_and_when_it_ends(cluster: FileCluster, clock: Clock) -> None:
    """A process writes the record only when it begins and when it ends. A write per call would load the API server."""
    versions = []
    handover = BudgetHandover(cluster, RELEASE, 200, clock=clock, steady=clock)
    for step in (handover.end, handover.begin, handover.begin, handover.begin, handover.end, handover.end):
        await step()
        found = await cluster.config_map(RELEASE, NAME)
        versions.append(found and found.resource_version)
    assert versions == [None, "1", "1", "1", "2", "2"]


async def test_an_endless_crash_loop_does_not_fill_the_config_map(cluster: FileCluster, clock: Clock) -> None:
    """The record keeps only the latest starts, so an endless crash loop does not fill the ConfigMap.

    After so many starts the next grant is practically zero.
    """
    for _ in range(2 * KEPT):
        await begun(cluster, clock)
    assert len((await written(cluster, clock)).grants) == KEPT


class Unwritable(FileCluster):
    """A cluster that refuses to create ConfigMaps."""

    async def create(self, manifest: Manifest) -> Manifest:
        raise ClusterRefused("Forbidden", "configmaps is forbidden")


async def test_a_grant_that_cannot_be_recorded_is_not_spent(clock: Clock) -> None:
    """An operator that cannot record its grant makes no calls.

    Otherwise, in a crash loop without the right to write, the starts would not be counted.
    """
    handover = BudgetHandover(Unwritable(clock=clock), RELEASE, 200, clock=clock, steady=clock)
    with pytest.raises(ClusterRefused):
        await handover.begin()
    assert spent(handover) == 0


async def test_a_deletion_does_not_wait_for_a_record_that_cannot_be_written() -> None:
    """A number is deleted even if the record cannot be written.

    A finalizer must never hang, and removing this number needs no calls of its account.
    """
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
    """The record contains only account ids and counts, and no token, secret or phone number.

    The account's id is also in the number's spec.
    """
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
        assert set(found.left.pairs) == {pair_of(APP, WABA)}
        assert found.left.pairs[pair_of(APP, WABA)] < found.left.others
        stored = await it.cluster.config_map(RELEASE, NAME)
        assert stored is not None
        assert set(stored.data) == {KEY}


@dataclass
class Life:
    """The actions of one process, with times in seconds."""

    moments: list[tuple[float, bool]]
    """Waits, each followed by spending all that the process has (True) or nothing (False)."""
    ends: str
    back: float
    """By how much the wall clock goes back before the process begins."""
    limit: int
    """This process's limit of calls per hour."""
    pause: float
    """Time until the next process begins; if negative, the next one begins that long before this one ends."""


LIVES = st.builds(
    Life,
    moments=st.lists(st.tuples(st.floats(0, 900) | st.just(0.0) | st.just(1440.0), st.booleans()), max_size=8),
    ends=st.sampled_from(["in order", "killed", "unwritten", "overwritten"]),
    back=st.just(0.0) | st.floats(0, 10_000),
    limit=st.sampled_from([20, 200, 333, 5000]),
    pause=st.sampled_from([0.0, -OVERLAP_S]) | st.floats(-OVERLAP_S, 4000),
)


async def calls_of(lives: list[Life]) -> list[tuple[float, float]]:
    """Runs the processes one after the other, and returns each call as its time and its share of the hour's limit."""
    steady, lag = Clock(), 0.0
    cluster = FileCluster(clock=steady)
    made: list[tuple[float, float]] = []
    before: tuple[BudgetHandover, Life] | None = None

    def spend(handover: BudgetHandover, life: Life) -> None:
        while handover.budget.take(WABA, routine=False) == 0:
            made.append((steady(), 1 / life.limit))

    async def end(handover: BudgetHandover, life: Life) -> None:
        if life.ends == "in order":
            with contextlib.suppress(ClusterConflict):  # another process began before
                await handover.end()
        elif life.ends == "overwritten":
            stray = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": RELEASE}}
            await cluster.apply({**stray, "data": {KEY: "{}x"}}, manager="other")

    for life in lives:
        lag += life.back
        behind = lag
        clock = lambda: steady() - behind  # noqa: B023, E731 - `begin` calls it in this round
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
    """Returns the largest sum of shares within any period of an hour."""
    moments = [at for at, _ in made]
    until = [0.0, *itertools.accumulate(share for _, share in made)]
    within = (until[bisect_left(moments, at + 3600)] - until[index] for index, at in enumerate(moments))
    return round(max(within, default=0.0), 9)


@settings(deadline=None, max_examples=200)
@given(lives=st.lists(LIVES, min_size=1, max_size=12))
def test_no_hour_sees_more_calls_than_the_limit_over_many_processes(lives: list[Life]) -> None:
    """The limit is never exceeded, no matter how processes end, overlap or overwrite each other's record.

    This also holds when clocks go back. Processes may have different limits. Each call then counts as a share of
    its own process's limit, and the sum of these shares is at most one.
    """
    assert most_in_an_hour(asyncio.run(calls_of(lives))) <= 1


@pytest.mark.parametrize("ends", ["in order", "killed", "unwritten", "overwritten"])
@pytest.mark.parametrize("pause", [0.0, -10.0, 5.0])
async def test_a_loop_of_starts_stays_below_the_limit(ends: str, pause: float) -> None:
    """Many short processes together stay below the limit, even if an hour without calls came before.

    Each process lives for ten seconds and makes all the calls that it may make.
    """
    saved = Life([(3600.0, False)], "in order", 0.0, 200, 0.0)
    lives = [Life([(0.0, True), (10.0, True)], ends, 0.0, 200, pause) for _ in range(600)]
    assert most_in_an_hour(await calls_of([saved, *lives])) <= 1
