"""Management calls of an account never exceed its limit, and numbers that need them most come first."""

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.operator.meta.budget import (
    BURST_SHARE,
    MOST_ACCOUNTS,
    MOST_NAMED,
    Budget,
    Remaining,
    initial_grant,
    summarize,
)

from .installation import Clock


def opened(clock: Clock, limit: int = 200, left: Remaining | None = None, *, age_s: float = 0.0) -> Budget:
    """Return an open budget: that of the first operator in this hour, or one with the calls that are given."""
    budget = Budget(limit, clock)
    budget.open(left or initial_grant(before=0), age_s=age_s)
    return budget


def spent(budget: Budget, account: str = "a", *, routine: bool = False, most: int = 1000) -> int:
    """Make calls until the budget refuses one, and return how many it allowed."""
    return next((calls for calls in range(most) if budget.take(account, routine=routine)), most)


def closed(budget: Budget) -> Remaining:
    """Close the budget and return what remains of it."""
    left = budget.close()
    assert left is not None
    return left


def test_a_new_operator_begins_with_little() -> None:
    """An operator that is killed again and again must not use up the hour's calls each time."""
    assert spent(opened(Clock())) == 30


@pytest.mark.parametrize(("before", "share"), [(0, 0.15), (1, 0.075), (2, 0.0375), (32, 0)])
def test_each_grant_within_an_hour_is_half_of_the_previous_one(before: int, share: float) -> None:
    """All grants of an hour together are less than 30 % of its calls."""
    assert initial_grant(before).others == pytest.approx(share, abs=1e-9)


def test_routine_calls_leave_a_reserve() -> None:
    """After an hour without calls, half of what was saved up is reserved for new and broken numbers."""
    clock = Clock()
    budget = opened(clock)
    spent(budget)
    clock.advance(3600)
    assert (spent(budget, routine=True), spent(budget)) == (20, 20)


@pytest.mark.parametrize("age_s", [0.0, -60.0], ids=["refilled from the start", "refilled later"])
def test_a_refusal_says_when_to_ask_again(age_s: float) -> None:
    """After that time one call is allowed."""
    clock = Clock()
    budget = opened(clock, age_s=age_s)
    spent(budget)
    wait_s = budget.take("a", routine=False)
    clock.advance(wait_s * 1.001)
    assert budget.take("a", routine=False) == 0
    assert budget.take("a", routine=False) > 0


def test_accounts_do_not_share() -> None:
    """Meta counts calls by account."""
    budget = opened(Clock())
    spent(budget)
    assert budget.take("b", routine=False) == 0


def test_a_refusal_by_meta_overrides_our_count() -> None:
    """Meta answers 80007 when another client has used up the limit."""
    clock = Clock()
    budget = opened(clock)
    budget.block("a", 1800)
    assert budget.take("a", routine=False) == 1800
    clock.advance(1800)
    assert budget.take("a", routine=False) == 0


def test_a_clock_that_goes_back_refills_nothing_twice() -> None:
    """The same minutes pass several times and count once."""
    clock = Clock()
    budget = opened(clock)
    spent(budget)
    for seconds in (-600.0, 600.0) * 5:
        clock.advance(seconds)
        assert spent(budget) == 0


def test_a_budget_allows_nothing_before_it_is_opened() -> None:
    """A grant that was not recorded is not spent."""
    budget = Budget(200, Clock())
    budget.block("a", 5)
    assert budget.take("a", routine=False) == pytest.approx(36)
    assert budget.close() is None


def test_a_closed_budget_allows_nothing() -> None:
    """The next process owns the rest now."""
    budget = opened(Clock())
    assert closed(budget).others == 0.15
    assert budget.take("a", routine=False) > 0
    assert budget.close() is None


def test_the_next_process_continues_where_the_last_one_ended() -> None:
    """It has what remained of each account, and what was refilled since."""
    clock = Clock()
    budget = opened(clock)
    assert spent(budget, "a", most=20) == 20
    left = closed(budget)
    clock.advance(360)
    after = opened(clock, left=left, age_s=360)
    assert (spent(after, "a"), spent(after, "b")) == (20, 40)


@pytest.mark.parametrize("limit", [200, 20, 5000], ids=["the same limit", "a lower one", "a higher one"])
def test_meta_s_refusal_outlives_the_process(limit: int) -> None:
    """No call is made before it ends, and then no burst, even if the limit was changed because of the refusal."""
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
    """The shorter one is the answer to a call that was under way when its account was handed over."""
    clock = Clock()
    budget = opened(clock, left=Remaining(-0.5))
    budget.block("a", 5)
    clock.advance(5)
    assert budget.take("a", routine=False) == pytest.approx(3595 + 36)


@pytest.mark.parametrize(("limit", "calls"), [(200, 20), (20, 2), (5000, 500)])
def test_a_changed_limit_leaves_the_same_share_of_the_hour(limit: int, calls: int) -> None:
    """A raised limit helps at once; a lowered one allows no more than its own share."""
    before = opened(Clock())
    assert spent(before, "a", most=10) == 10
    assert spent(opened(Clock(), limit, closed(before)), "a") == calls


def test_a_long_pause_saves_up_no_more_than_the_maximum() -> None:
    """The next process starts decades later."""
    assert spent(opened(Clock(), left=Remaining(0.2, {"a": 0.2}), age_s=1e9), "a") == 40


@pytest.mark.parametrize(
    ("accounts", "remaining"),
    [
        ({}, Remaining(0.099999)),
        ({"full": 0.2, "same": 0.0999999}, Remaining(0.099999)),
        ({"less": 0.0123459, "none": 0.0, "blocked": -0.5}, Remaining(0.012345, {"none": 0.0, "blocked": -0.5})),
    ],
    ids=["no account", "accounts that have no less", "more accounts than are named"],
)
def test_a_summary_names_the_accounts_with_the_least(accounts: dict[str, float], remaining: Remaining) -> None:
    """All other accounts have at least the common share of the summary."""
    assert summarize(0.0999999, accounts, most=2) == remaining


def test_the_summary_of_thousands_of_accounts_stays_small() -> None:
    """A ConfigMap holds 1 MiB. Accounts that are not named keep nearly what they had."""
    clock = Clock()
    budget = opened(clock, left=Remaining(BURST_SHARE))
    for number in range(5000):
        spent(budget, str(10**15 + number), most=30 if number < 500 else 1)
    left = closed(budget)
    assert len(left.accounts) == MOST_NAMED
    assert left.others == 0.195
    assert left.accounts[str(10**15)] == 0.05


def test_a_forgotten_account_gets_no_new_grant() -> None:
    """Using more accounts than are remembered does not yield more calls."""
    budget = opened(Clock())
    spent(budget, "first")
    for number in range(MOST_ACCOUNTS):
        budget.take(str(number), routine=False)
    assert budget.take("first", routine=False) > 0


@settings(deadline=None)
@given(
    limit=st.integers(20, 5000),
    waits=st.lists(st.floats(0, 900), min_size=1, max_size=60),
    tries=st.integers(1, 60),
)
def test_no_hour_sees_more_calls_than_the_limit(limit: int, waits: list[float], tries: int) -> None:
    """The limit holds whenever calls are asked for; `test_budget_handover.py` checks it over several processes."""
    clock = Clock()
    made: list[float] = []
    budget = opened(clock, limit, Remaining(BURST_SHARE))
    for wait in waits:
        made += [clock() for _ in range(tries) if budget.take("a", routine=False) == 0]
        clock.advance(wait)
    assert max((bisect_left(made, at + 3600) - index for index, at in enumerate(made)), default=0) <= limit
