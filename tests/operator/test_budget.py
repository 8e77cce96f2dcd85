"""Management calls of an account never exceed its limit, and the numbers that need calls most get them first."""

from bisect import bisect_left

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.operator.meta.budget import (
    BURST_SHARE,
    MOST_NAMED,
    MOST_PAIRS,
    Budget,
    Remaining,
    initial_grant,
    pair_of,
    summarize,
)

from .installation import Clock


def opened(clock: Clock, limit: int = 200, left: Remaining | None = None, *, age_s: float = 0.0) -> Budget:
    """Returns an open budget with the remainder `left`.

    Without `left`, the budget gets the grant of an operator that is the first one to start within an hour.
    """
    budget = Budget(limit, clock)
    budget.open(left or initial_grant(before=0), age_s=age_s)
    return budget


def spent(budget: Budget, account: str = "a", *, routine: bool = False, most: int = 1000) -> int:
    """Makes calls until the budget refuses one, and returns how many calls it allowed."""
    return next((calls for calls in range(most) if budget.take(account, routine=routine)), most)


def closed(budget: Budget) -> Remaining:
    """Closes the budget and returns what remains of it."""
    left = budget.close()
    assert left is not None
    return left


def test_a_new_operator_begins_with_little() -> None:
    """The first grant is only 30 calls. Repeated kills of an operator must not use up all calls of an hour."""
    assert spent(opened(Clock())) == 30


@pytest.mark.parametrize(("before", "share"), [(0, 0.15), (1, 0.075), (2, 0.0375), (32, 0)])
def test_each_grant_within_an_hour_is_half_of_the_previous_one(before: int, share: float) -> None:
    """Each grant within an hour is half of the previous one, so all grants use less than 30 % of the hour's calls."""
    assert initial_grant(before).others == pytest.approx(share, abs=1e-9)


def test_routine_calls_leave_a_reserve() -> None:
    """After an hour without calls, half of the saved calls are reserved for new and broken numbers."""
    clock = Clock()
    budget = opened(clock)
    spent(budget)
    clock.advance(3600)
    assert (spent(budget, routine=True), spent(budget)) == (20, 20)


@pytest.mark.parametrize("age_s", [0.0, -60.0], ids=["refilled from the start", "refilled later"])
def test_a_refusal_says_when_to_ask_again(age_s: float) -> None:
    """A refusal returns the seconds to wait, and after that time one call is allowed."""
    clock = Clock()
    budget = opened(clock, age_s=age_s)
    spent(budget)
    wait_s = budget.take("a", routine=False)
    clock.advance(wait_s * 1.001)
    assert budget.take("a", routine=False) == 0
    assert budget.take("a", routine=False) > 0


@pytest.mark.parametrize("other", [pair_of("1", "b"), pair_of("2", "a")], ids=["account", "app"])
def test_pairs_of_app_and_account_do_not_share(other: str) -> None:
    """Each pair of app and account has its own calls, because Meta counts the calls of each pair separately.

    A refusal by Meta concerns only one pair.
    """
    budget = opened(Clock())
    mine = pair_of("1", "a")
    spent(budget, mine)
    assert budget.take(other, routine=False) == 0
    budget.block(mine, 3600)
    assert budget.take(other, routine=False) == 0


def test_another_app_s_calls_are_not_mine_in_the_next_process_either() -> None:
    """The record names each pair, so another app's calls do not count as mine after a restart."""
    budget = opened(Clock())
    budget.block(pair_of("2", "a"), 3600)
    after = opened(Clock(), left=closed(budget))
    assert (spent(after, pair_of("1", "a")), spent(after, pair_of("2", "a"))) == (30, 0)


def test_a_record_of_a_process_that_counted_by_account_alone_is_kept() -> None:
    """If a record counts by account alone, its count limits each app of the account.

    This count is handed on to the next process until the calls of an app have been counted.
    """
    clock = Clock()
    between = closed(opened(clock, left=Remaining(0.15, {"a": 0.05})))
    assert between.accounts == {"a": 0.05}
    budget = opened(clock, left=between)
    assert (spent(budget, pair_of("1", "a")), spent(budget, pair_of("2", "a"))) == (10, 10)
    assert spent(budget, pair_of("1", "b")) == 30


def test_a_process_that_counts_by_account_alone_finds_the_least_of_all_apps() -> None:
    """For each account, the record also has the least that any app has left.

    After a release is undone, the earlier release needs this value, because it cannot read pairs.
    """
    budget = opened(Clock())
    spent(budget, pair_of("1", "a"), most=10)
    spent(budget, pair_of("2", "a"), most=20)
    assert closed(budget).accounts == {"a": 0.05}


def test_a_refusal_by_meta_overrides_our_count() -> None:
    """After Meta's refusal, an account gets no calls, even if our own count would allow some.

    Meta answers 80007 when another client has used up the limit.
    """
    clock = Clock()
    budget = opened(clock)
    budget.block("a", 1800)
    assert budget.take("a", routine=False) == 1800
    clock.advance(1800)
    assert budget.take("a", routine=False) == 0


def test_a_clock_that_goes_back_refills_nothing_twice() -> None:
    """When the clock goes back, the same minutes pass several times but are refilled only once."""
    clock = Clock()
    budget = opened(clock)
    spent(budget)
    for seconds in (-600.0, 600.0) * 5:
        clock.advance(seconds)
        assert spent(budget) == 0


def test_a_budget_allows_nothing_before_it_is_opened() -> None:
    """A budget allows no calls before it is opened, because its grant is not recorded yet."""
    budget = Budget(200, Clock())
    budget.block("a", 5)
    assert budget.take("a", routine=False) == pytest.approx(36)
    assert budget.close() is None


def test_a_closed_budget_allows_nothing() -> None:
    """A closed budget allows no calls, because its remainder belongs to the next process."""
    budget = opened(Clock())
    assert closed(budget).others == 0.15
    assert budget.take("a", routine=False) > 0
    assert budget.close() is None


def test_the_next_process_continues_where_the_last_one_ended() -> None:
    """The next process has the remainder of each account, plus the refill since the last process ended."""
    clock = Clock()
    budget = opened(clock)
    assert spent(budget, "a", most=20) == 20
    left = closed(budget)
    clock.advance(360)
    after = opened(clock, left=left, age_s=360)
    assert (spent(after, "a"), spent(after, "b")) == (20, 40)


@pytest.mark.parametrize("limit", [200, 20, 5000], ids=["the same limit", "a lower one", "a higher one"])
def test_meta_s_refusal_outlives_the_process(limit: int) -> None:
    """A refusal by Meta also holds for the next process.

    No call is made before the refusal ends, and no burst after it. A change of the limit does not alter this.
    """
    clock = Clock()
    budget = opened(clock)
    budget.block("a", 1800)
    clock.advance(600)
    after = opened(clock, limit, closed(budget))
    one_comes_in_s = 3600 / limit / 0.5
    assert after.take("a", routine=False) == pytest.approx(1200 + one_comes_in_s, abs=0.1)
    clock.advance(1200.1 + one_comes_in_s)
    assert spent(after, "a") == 1


def test_a_shorter_refusal_does_not_end_a_longer_one_of_another_process() -> None:
    """A shorter refusal does not end a longer refusal that another process handed over.

    The shorter refusal answers a call that was in flight during the handover of the account.
    """
    clock = Clock()
    budget = opened(clock, left=Remaining(-0.5))
    budget.block("a", 5)
    clock.advance(5)
    assert budget.take("a", routine=False) == pytest.approx(3595 + 36)


@pytest.mark.parametrize(("limit", "calls"), [(200, 20), (20, 2), (5000, 500)])
def test_a_changed_limit_leaves_the_same_share_of_the_hour(limit: int, calls: int) -> None:
    """After a change of the limit, the remainder is the same share of the hour's calls.

    So a higher limit helps at once, and a lower limit allows no more than its own share.
    """
    before = opened(Clock())
    assert spent(before, "a", most=10) == 10
    assert spent(opened(Clock(), limit, closed(before)), "a") == calls


def test_a_long_pause_saves_up_no_more_than_the_maximum() -> None:
    """An account never saves up more calls than the maximum, even if the next process starts decades later."""
    assert spent(opened(Clock(), left=Remaining(0.2, {"a": 0.2}), age_s=1e9), "a") == 40


@pytest.mark.parametrize(
    ("pairs", "remaining"),
    [
        ({}, Remaining(0.099999)),
        ({"1/full": 0.2, "1/same": 0.0999999}, Remaining(0.099999)),
        (
            {"1/less": 0.0123459, "1/none": 0.0, "2/none": -0.5},
            Remaining(0.012345, {"none": -0.5}, {"1/none": 0.0, "2/none": -0.5}),
        ),
    ],
    ids=["no pair", "pairs that have no less", "more pairs than are named"],
)
def test_a_summary_names_the_pairs_with_the_least(pairs: dict[str, float], remaining: Remaining) -> None:
    """A summary names the pairs that have the fewest calls left.

    All other pairs have at least the common share that the summary gives.
    """
    assert summarize(0.0999999, pairs, most=2) == remaining


def test_the_summary_of_thousands_of_pairs_stays_small() -> None:
    """The summary of thousands of pairs stays small, because a ConfigMap holds at most 1 MiB.

    Pairs that are not named keep nearly all of their remainder.
    """
    clock = Clock()
    budget = opened(clock, left=Remaining(BURST_SHARE))
    for number in range(5000):
        spent(budget, pair_of(str(10**15), str(10**15 + number)), most=30 if number < 500 else 1)
    left = closed(budget)
    assert len(left.pairs) == MOST_NAMED
    assert len(msgspec.json.encode(left)) < 100_000
    assert left.others == 0.195
    assert left.pairs[pair_of(str(10**15), str(10**15))] == 0.05


def test_a_forgotten_pair_gets_no_new_grant() -> None:
    """A pair that was forgotten gets no new grant.

    So a user gets no additional calls by using more pairs than the budget remembers.
    """
    budget = opened(Clock())
    spent(budget, "first")
    for number in range(MOST_PAIRS):
        budget.take(str(number), routine=False)
    assert budget.take("first", routine=False) > 0


@settings(deadline=None)
@given(
    limit=st.integers(20, 5000),
    waits=st.lists(st.floats(0, 900), min_size=1, max_size=60),
    tries=st.integers(1, 60),
)
def test_no_hour_sees_more_calls_than_the_limit(limit: int, waits: list[float], tries: int) -> None:
    """No hour has more calls than the limit, at whatever times calls are requested.

    `test_budget_handover.py` checks the same over several processes.
    """
    clock = Clock()
    made: list[float] = []
    budget = opened(clock, limit, Remaining(BURST_SHARE))
    for wait in waits:
        made += [clock() for _ in range(tries) if budget.take("a", routine=False) == 0]
        clock.advance(wait)
    assert max((bisect_left(made, at + 3600) - index for index, at in enumerate(made)), default=0) <= limit
