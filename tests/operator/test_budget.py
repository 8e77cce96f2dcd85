"""Management calls of an account never exceed its limit, and those that need them come first."""

from bisect import bisect_left

from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.operator.budget import Budget
from waypost.operator.starts import share_of_start

from .installation import Clock


def spent(budget: Budget, *, routine: bool, most: int = 1000) -> int:
    """How many calls can be made right now."""
    return next((calls for calls in range(most) if budget.take("a", routine=routine)), most)


def test_a_new_operator_begins_with_little() -> None:
    """So that one that restarts again and again does not use up the hour each time."""
    assert spent(Budget(200, Clock()), routine=False) == 30


def test_looks_at_healthy_numbers_leave_a_reserve() -> None:
    """After a rest, half of what was saved up is kept for new and broken numbers."""
    clock = Clock()
    budget = Budget(200, clock)
    spent(budget, routine=False)
    clock.advance(3600)
    assert (spent(budget, routine=True), spent(budget, routine=False)) == (20, 20)


def test_it_tells_when_to_ask_again() -> None:
    """And then a call is free."""
    clock = Clock()
    budget = Budget(200, clock)
    spent(budget, routine=False)
    wait_s = budget.take("a", routine=False)
    clock.advance(wait_s * 1.001)
    assert budget.take("a", routine=False) == 0
    assert budget.take("a", routine=False) > 0


def test_accounts_do_not_share() -> None:
    """Meta counts by account."""
    budget = Budget(200, Clock())
    spent(budget, routine=False)
    assert budget.take("b", routine=False) == 0


def test_metas_own_word_precedes_our_count() -> None:
    """80007: somebody else used the limit up."""
    clock = Clock()
    budget = Budget(200, clock)
    budget.block("a", 1800)
    assert budget.take("a", routine=False) == 1800
    clock.advance(1800)
    assert budget.take("a", routine=False) == 0


@settings(deadline=None)
@given(
    limit=st.integers(20, 5000),
    lives=st.lists(st.lists(st.floats(0, 900), min_size=1, max_size=12), min_size=1, max_size=12),
    tries=st.integers(1, 60),
)
def test_no_hour_sees_more_calls_than_the_limit(limit: int, lives: list[list[float]], tries: int) -> None:
    """Whenever they are asked for, and however often the operator is killed and begins anew."""
    clock = Clock()
    made: list[float] = []
    starts: list[float] = []
    for waits in lives:
        budget = Budget(limit, clock)
        budget.begin_with(share_of_start(starts, clock()))
        starts.append(clock())
        for wait in waits:
            made += [clock() for _ in range(tries) if budget.take("a", routine=False) == 0]
            clock.advance(wait)
    assert max(bisect_left(made, at + 3600) - index for index, at in enumerate(made)) <= limit


def test_operators_in_a_crash_loop_stay_below_the_limit_together() -> None:
    """Each process uses up whatever it has, and lives for ten seconds; none knows what another one did."""
    clock = Clock()
    made = 0
    starts: list[float] = []
    for _ in range(360):
        budget = Budget(200, clock)
        budget.begin_with(share_of_start(starts, clock()))
        starts.append(clock())
        made += spent(budget, routine=False)
        clock.advance(10)
    assert made <= 200
