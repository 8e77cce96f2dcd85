"""Tests that the arithmetic of the limits keeps its bounds, and that PostgreSQL and Python compute the same."""

import itertools
import math
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from waypost.sending.gcra import MISSED, PAIR_BURST, PAIR_INTERVAL, SECOND, Answer, LimitResult, State, Terms
from waypost.store import rates

START = 1_790_000_000 * SECOND


Questions = list[tuple[int, list[tuple[int, bool]]]]
"""Pauses in microseconds, each with the `(conversation, bulk)` rows that are asked for after it."""


def starts(per_second: int, questions: Questions, incoming: bool = False) -> list[tuple[int, int]]:
    """Returns pairs of a start time and the conversation that may send at this time. The pairs are sorted by time."""
    state, terms, now = State(), Terms.of(per_second), START
    granted = []
    for pause, rows in questions:
        now += pause
        if incoming:
            state.charge(terms, 1, now)
        for (conversation, _), answer in zip(rows, state.take(terms, rows, now), strict=True):
            if answer.result is LimitResult.GO:
                granted.append((now + answer.wait, conversation))
    return sorted(granted)


per_seconds = st.sampled_from([1, 5, 20, 80, 250, 1000])
row = st.tuples(st.integers(1, 400), st.booleans())
questions = st.lists(
    st.tuples(st.integers(0, 300_000), st.lists(row, min_size=1, max_size=60)), min_size=1, max_size=40
)


@settings(max_examples=150, deadline=None)
@given(per_second=per_seconds, asked=questions)
def test_no_second_ever_holds_more_than_the_limit(per_second: int, asked: Questions) -> None:
    """G6: a window of 1 s never contains more starts than the configured rate.

    This holds for any questions at any times.
    """
    moments = [moment for moment, _ in starts(per_second, asked)]
    for first, beyond in zip(moments, moments[per_second:], strict=False):
        assert beyond - first >= SECOND


@settings(max_examples=100, deadline=None)
@given(per_second=per_seconds, asked=questions, window_s=st.floats(0.001, 20))
def test_any_window_holds_at_most_burst_and_rate(per_second: int, asked: Questions, window_s: float) -> None:
    """A window of any length contains at most as many starts as the burst and the rate allow (the bound of GCRA)."""
    terms = Terms.of(per_second)
    most = terms.tolerance / terms.interval + window_s * SECOND / terms.interval
    moments = [moment for moment, _ in starts(per_second, asked)]
    for index, first in enumerate(moments):
        held = sum(moment - first <= window_s * SECOND for moment in moments[index:])
        assert held <= most + 1e-6


@settings(max_examples=50, deadline=None)
@given(pauses=st.lists(st.integers(0, 8 * SECOND), min_size=60, max_size=120))
def test_a_pair_gets_its_burst_and_then_one_message_in_six_seconds(pauses: list[int]) -> None:
    """A pair gets its burst and then at most one message in six seconds, at whatever times it asks."""
    moments = [moment for moment, _ in starts(1000, [(pause, [(1, False)]) for pause in pauses])]
    for index, first in enumerate(moments):
        for count, moment in enumerate(moments[index:], start=1):
            assert count <= PAIR_BURST + (moment - first) / (6 * SECOND)


def test_a_saturated_number_is_used_to_the_full() -> None:
    """A saturated number gets at least 98 % of its limit, and never more than the limit.

    Late questions do not slow it down, because each start is granted a little ahead of its time.
    """
    state, terms, now = State(), Terms.of(80), START
    granted, conversation = 0, 0
    while now < START + 60 * SECOND:
        conversation += 1
        answer = state.take(terms, [(conversation, False)], now)[0]
        if answer.result is LimitResult.GO:
            granted += 1
        else:
            now += answer.wait + 20_000  # each question comes 20 ms late
    assert 60 * 80 * 0.98 <= granted <= 60 * 80


def test_replies_come_first_when_both_want_everything() -> None:
    """G6: while replies use up the limit, bulk messages are refused. Otherwise bulk gets what replies leave free."""
    state, terms, now = State(), Terms.of(80), START
    replies = bulk = 0
    for step in range(1, 400):
        answers = state.take(terms, [(step, True)] + [(1000 + 20 * step + i, False) for i in range(20)], now)
        bulk += answers[0].result is LimitResult.GO
        replies += sum(answer.result is LimitResult.GO for answer in answers[1:])
        now += 50_000
    assert replies > 20 * bulk


def test_a_reply_hardly_waits_for_bulk() -> None:
    """A reply hardly waits, even if a campaign takes all the starts that it can get.

    The starts beyond the campaign's horizon are left to replies.
    """
    state, terms, now = State(), Terms.of(100), START
    for conversation in range(1, 1000):
        state.take(terms, [(conversation, True)], now)
        now += 1_000
    answer = state.take(terms, [(2000, False)], now)[0]
    assert answer.result is LimitResult.GO
    assert answer.wait <= terms.bulk_horizon + terms.interval


def test_incoming_messages_use_the_limit_but_cannot_silence_the_number() -> None:
    """Incoming messages use the limit (Meta, Throughput), but a flood of them delays sends by a second at most."""
    state, terms = State(), Terms.of(80)
    state.charge(terms, 40, START)
    half = sum(answer.wait == 0 for answer in state.take(terms, [(1, False)], START + SECOND // 4))
    assert half == 0
    state.charge(terms, 1_000_000, START)
    assert state.take(terms, [(2, False)], START + SECOND + terms.interval)[0] == Answer(LimitResult.GO, 0)


@pytest.mark.fault("G2")
def test_a_number_that_was_too_fast_goes_at_half_its_rate_and_recovers() -> None:
    """G2: the rate of a number is halved at most once per second, and is full again after a minute."""
    state, terms = State(), Terms.of(80)
    for _ in range(50):
        state.slow_down(terms, START)
    assert state.slowed(terms, START)[0] == 2 * terms.interval
    assert state.slowed(terms, START + 15 * SECOND)[0] == terms.interval * 1000 // 750
    assert state.slowed(terms, START + 30 * SECOND)[0] == terms.interval
    state.slow_down(terms, START + SECOND)
    assert state.slowed(terms, START + SECOND)[0] > 3 * terms.interval


# -- jumps of the clock

jumps = st.one_of(st.just(0), st.just(0), st.integers(-700 * SECOND, 0))


@pytest.mark.fault("P6")
@settings(max_examples=150, deadline=None)
@given(
    per_second=per_seconds, asked=st.lists(st.tuples(st.integers(0, 300_000), jumps, st.integers(1, 60)), max_size=40)
)
def test_a_clock_that_goes_back_grants_no_start_twice(per_second: int, asked: list[tuple[int, int, int]]) -> None:
    """G6: no second contains more starts than the limit, however often the clock goes back."""
    state, terms = State(), Terms.of(per_second)
    now, offset, moments, conversation = START, 0, [], 0
    for pause, jump, count in asked:
        now, offset = now + pause, offset + jump
        for _ in range(count):
            conversation += 1
            answer = state.take(terms, [(conversation, False)], now + offset)[0]
            if answer.result is LimitResult.GO:
                moments.append(now + answer.wait)
    moments.sort()
    for first, beyond in zip(moments, moments[per_second:], strict=False):
        assert beyond - first >= SECOND


@pytest.mark.fault("P6")
@settings(max_examples=100, deadline=None)
@given(per_second=per_seconds, asked=questions, jump=st.integers(1, 700 * SECOND), at=st.integers(0, 39))
def test_a_clock_that_goes_ahead_adds_no_more_than_what_was_pending(
    per_second: int, asked: Questions, jump: int, at: int
) -> None:
    """After a jump ahead, a second contains at most the limit and the starts that were pending at the jump."""
    state, terms, now, offset, moments = State(), Terms.of(per_second), START, 0, []
    for index, (pause, rows) in enumerate(asked):
        now, offset = now + pause, jump if index >= at else 0
        answers = state.take(terms, rows, now + offset)
        moments += [now + answer.wait for answer in answers if answer.result is LimitResult.GO]
    moments.sort()
    pending = math.ceil((terms.reply_horizon + terms.tolerance) / terms.interval)
    for first, beyond in zip(moments, moments[per_second + pending :], strict=False):
        assert beyond - first >= SECOND


@pytest.mark.fault("P6")
@pytest.mark.parametrize("per_second", [1, 20, 80, 1000])
def test_a_clock_that_goes_back_ten_minutes_silences_a_number_for_two_seconds_at_most(per_second: int) -> None:
    """A number whose last start is ten minutes ahead of the clock sends again within two seconds."""
    state, terms, now = State(), Terms.of(per_second), START
    answers = [answer for n in range(400) for answer in state.take(terms, [(n, False)], START + 600 * SECOND)]
    assert answers[-1].result is LimitResult.NUMBER_BUSY
    while (answer := state.take(terms, [(1000, False)], now)[0]).result is not LimitResult.GO:
        now += answer.wait
    assert now + answer.wait - START <= 2 * SECOND + 3 * terms.interval


@pytest.mark.fault("P6")
def test_a_clock_that_goes_back_ten_minutes_makes_a_pair_wait_for_one_interval_at_most() -> None:
    """A pair that wrote a burst ten minutes ahead of the clock may write again after six seconds."""
    state, terms = State(), Terms.of(1000)
    for n in range(PAIR_BURST):
        assert state.take(terms, [(7, False)], START + 600 * SECOND + n * SECOND)[0].result is LimitResult.GO
    answer = state.take(terms, [(7, False)], START)[0]
    assert answer.result is LimitResult.PAIR_BUSY
    assert answer.wait <= PAIR_INTERVAL


@pytest.mark.fault("P6")
def test_a_clock_that_goes_back_does_not_keep_a_number_slow() -> None:
    """A number whose rate was halved recovers within a minute of the time that passes, not of the time that was."""
    state, terms = State(), Terms.of(80)
    state.slow_down(terms, START + 600 * SECOND)
    state.take(terms, [], START)
    assert state.slowed(terms, START + 30 * SECOND)[0] == terms.interval


# -- the function in the database

steps = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 2 * SECOND), st.integers(-900 * SECOND, 900 * SECOND)),
        st.sampled_from([False, False, True]),
        st.sampled_from([0, 0, 1, 30, 200]),
        st.lists(row, max_size=20),
    ),
    min_size=1,
    max_size=25,
)
_examples = itertools.count(1)
_rows = itertools.count(1)


@pytest.mark.fault("P6")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(per_second=per_seconds, script=steps)
def test_postgresql_and_python_agree(
    database: Engine, per_second: int, script: list[tuple[int, bool, int, list[tuple[int, bool]]]]
) -> None:
    """The function in PostgreSQL and the reference in Python give the same results, to the microsecond.

    Each step of the script has a pause, which may be a jump of the clock, then a slow-down, incoming messages and rows.
    """
    example = next(_examples)
    number_id, first = f"number {example}", example * 1000
    state, terms, now = State(), Terms.of(per_second), START
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for pause, slow_down, incoming, rows in script:
            now += pause
            granted = rates.grant_starts(
                connection,
                [
                    rates.NumberRequest(
                        number_id,
                        terms.interval,
                        terms.tolerance,
                        terms.reply_horizon,
                        terms.bulk_horizon,
                        incoming=incoming,
                        slow_down=slow_down,
                        rows=[(first + conversation, bulk, next(_rows)) for conversation, bulk in rows],
                    )
                ],
                pair_interval=terms.pair_interval,
                pair_tolerance=terms.pair_tolerance,
                repeat_after=MISSED,
                test_clock=now,
            )
            if slow_down:
                state.slow_down(terms, now)
            if incoming:
                state.charge(terms, incoming, now)
            expected = state.take(terms, rows, now)
            assert granted.clock == now
            assert granted.answers == [[tuple(answer) for answer in expected]]
            stored = connection.execute(
                text("SELECT arrival, factor, factor_at FROM rate_limit WHERE number_id = :id"), {"id": number_id}
            ).one()
            assert tuple(stored) == (state.arrival, state.factor, state.factor_at)
        pairs = connection.execute(
            text("SELECT conversation_id - :first, arrival FROM pair_limit WHERE conversation_id / 1000 = :example"),
            {"first": first, "example": example},
        )
        assert {int(conversation): int(arrival) for conversation, arrival in pairs} == state.pairs


def test_starts_are_spread_evenly() -> None:
    """Calls of a busy number are spread evenly: the time between two starts is always one interval."""
    moments = [
        moment for moment, _ in starts(80, [(20_000, [(20 * n + i, False) for i in range(20)]) for n in range(50)])
    ]
    assert {later - earlier for earlier, later in pairwise(moments)} == {Terms.of(80).interval}
