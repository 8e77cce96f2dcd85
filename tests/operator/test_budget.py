"""Management calls of an account never exceed its limit, and those that need them come first."""

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.operator.budget import KEPT_ACCOUNTS, TOLD_ACCOUNTS, Budget, Left, granted, told

from .installation import Clock


def opened(clock: Clock, limit: int = 200, left: Left | None = None, *, age_s: float = 0.0) -> Budget:
    """Of an operator that is the first in this hour, or begins with what is given."""
    budget = Budget(limit, clock)
    budget.open(left or granted(limit, before=0), age_s=age_s)
    return budget


def spent(budget: Budget, account: str = "a", *, routine: bool = False, most: int = 1000) -> int:
    """How many calls can be made right now."""
    return next((calls for calls in range(most) if budget.take(account, routine=routine)), most)


def closed(budget: Budget) -> Left:
    """What it leaves."""
    left = budget.close()
    assert left is not None
    return left


def test_a_new_operator_begins_with_little() -> None:
    """So that one that is killed again and again does not use up the hour each time."""
    assert spent(opened(Clock())) == 30


@pytest.mark.parametrize(("before", "calls"), [(0, 30), (1, 15), (2, 7.5), (32, 0)])
def test_each_grant_of_an_hour_is_half_of_the_one_before(before: int, calls: float) -> None:
    """All of an hour are less than 30 % of its calls."""
    assert granted(200, before).others == pytest.approx(calls, abs=1e-6)


def test_looks_at_healthy_numbers_leave_a_reserve() -> None:
    """After a rest, half of what was saved up is kept for new and broken numbers."""
    clock = Clock()
    budget = opened(clock)
    spent(budget)
    clock.advance(3600)
    assert (spent(budget, routine=True), spent(budget)) == (20, 20)


@pytest.mark.parametrize("age_s", [0.0, -60.0], ids=["refilled from the start", "refilled later"])
def test_it_tells_when_to_ask_again(age_s: float) -> None:
    """And then a call is free."""
    clock = Clock()
    budget = opened(clock, age_s=age_s)
    spent(budget)
    wait_s = budget.take("a", routine=False)
    clock.advance(wait_s * 1.001)
    assert budget.take("a", routine=False) == 0
    assert budget.take("a", routine=False) > 0


def test_accounts_do_not_share() -> None:
    """Meta counts by account."""
    budget = opened(Clock())
    spent(budget)
    assert budget.take("b", routine=False) == 0


def test_metas_own_word_precedes_our_count() -> None:
    """80007: somebody else used the limit up."""
    clock = Clock()
    budget = opened(clock)
    budget.block("a", 1800)
    assert budget.take("a", routine=False) == 1800
    clock.advance(1800)
    assert budget.take("a", routine=False) == 0


def test_a_clock_that_goes_back_refills_nothing_twice() -> None:
    """Though it passes the same minute again."""
    clock = Clock()
    budget = opened(clock)
    spent(budget)
    for seconds in (-600.0, 600.0) * 5:
        clock.advance(seconds)
        assert spent(budget) == 0


def test_a_budget_gives_nothing_before_it_is_told_what_there_is() -> None:
    """What was not written down is not spent."""
    budget = Budget(200, Clock())
    budget.block("a", 5)
    assert budget.take("a", routine=False) == pytest.approx(36)
    assert budget.close() is None


def test_a_budget_that_told_what_is_left_gives_no_more() -> None:
    """The next process has it now."""
    budget = opened(Clock())
    assert closed(budget).others == 30
    assert budget.take("a", routine=False) > 0
    assert budget.close() is None


def test_the_next_process_goes_on_where_the_last_one_ended() -> None:
    """With what was left of each account, and what has come in since."""
    clock = Clock()
    budget = opened(clock)
    assert spent(budget, "a", most=20) == 20
    left = closed(budget)
    clock.advance(360)
    after = opened(clock, left=left, age_s=360)
    assert (spent(after, "a"), spent(after, "b")) == (20, 40)


def test_meta_s_refusal_outlives_the_process() -> None:
    """No call before it has passed, and then no rush."""
    clock = Clock()
    budget = opened(clock)
    budget.block("a", 1800)
    clock.advance(600)
    after = opened(clock, left=closed(budget))
    assert after.take("a", routine=False) == pytest.approx(1236, abs=1)
    clock.advance(1237)
    assert spent(after, "a") == 1


def test_no_more_than_can_be_saved_up_is_taken_over() -> None:
    """After a long pause, or from a process whose limit was higher."""
    assert spent(opened(Clock(), left=Left(1000, {"a": 1000}), age_s=1e9), "a") == 40


@pytest.mark.parametrize(
    ("accounts", "left"),
    [
        ({}, Left(9.99)),
        ({"full": 40.0, "same": 9.999}, Left(9.99)),
        ({"less": 1.239, "none": 0.0, "blocked": -50.0}, Left(1.23, {"none": 0.0, "blocked": -50.0})),
    ],
    ids=["nobody", "those that have no less", "more than are told"],
)
def test_those_with_the_least_are_told_one_by_one(accounts: dict[str, float], left: Left) -> None:
    """The others have at least what is told of them all."""
    assert told(9.999, accounts, most=2) == left


def test_what_is_left_of_thousands_of_accounts_stays_small() -> None:
    """A ConfigMap holds 1 MiB, and each account but the few with nothing still has what it had, or nearly."""
    clock = Clock()
    budget = opened(clock, left=Left(40))
    for number in range(5000):
        spent(budget, str(10**15 + number), most=30 if number < 500 else 1)
    left = closed(budget)
    assert len(left.accounts) == TOLD_ACCOUNTS
    assert left.others == 39
    assert left.accounts[str(10**15)] == 10


def test_an_account_that_was_forgotten_gets_nothing_anew() -> None:
    """More accounts than are kept do not have more calls by that."""
    budget = opened(Clock())
    spent(budget, "first")
    for number in range(KEPT_ACCOUNTS):
        budget.take(str(number), routine=False)
    assert budget.take("first", routine=False) > 0


@settings(deadline=None)
@given(
    limit=st.integers(20, 5000),
    waits=st.lists(st.floats(0, 900), min_size=1, max_size=60),
    tries=st.integers(1, 60),
)
def test_no_hour_sees_more_calls_than_the_limit(limit: int, waits: list[float], tries: int) -> None:
    """Whenever they are asked for; over several processes, see `test_starts.py`."""
    clock = Clock()
    made: list[float] = []
    budget = opened(clock, limit, Left(limit))
    for wait in waits:
        made += [clock() for _ in range(tries) if budget.take("a", routine=False) == 0]
        clock.advance(wait)
    assert max((bisect_left(made, at + 3600) - index for index, at in enumerate(made)), default=0) <= limit
