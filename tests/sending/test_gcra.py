"""Tests that the arithmetic of the limits keeps its bounds, and that Lua and Python compute the same."""

import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waypost.sending import limits
from waypost.sending.gcra import PAIR_BURST, SECOND, Answer, LimitResult, State, Terms

START = 1_790_000_000 * SECOND


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Yields a client of the session's Redis. Each example uses keys of its own."""
    connection = redis.Redis.from_url(redis_url)
    yield connection
    connection.close()


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


rates = st.sampled_from([1, 5, 20, 80, 250, 1000])
row = st.tuples(st.integers(1, 400), st.booleans())
questions = st.lists(
    st.tuples(st.integers(0, 300_000), st.lists(row, min_size=1, max_size=60)), min_size=1, max_size=40
)


@settings(max_examples=150, deadline=None)
@given(per_second=rates, asked=questions)
def test_no_second_ever_holds_more_than_the_limit(per_second: int, asked: Questions) -> None:
    """G6: a window of 1 s never contains more starts than the configured rate.

    This holds for any questions at any times.
    """
    moments = [moment for moment, _ in starts(per_second, asked)]
    for first, beyond in zip(moments, moments[per_second:], strict=False):
        assert beyond - first >= SECOND


@settings(max_examples=100, deadline=None)
@given(per_second=rates, asked=questions, window_s=st.floats(0.001, 20))
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


def test_a_number_that_was_too_fast_goes_at_half_its_rate_and_recovers() -> None:
    """G2: the rate of a number is halved at most once per second, and is full again after a minute."""
    state, terms = State(), Terms.of(80)
    for _ in range(50):
        state.slow(START)
    assert state.slowed(terms, START)[0] == 2 * terms.interval
    assert state.slowed(terms, START + 15 * SECOND)[0] == terms.interval * 1000 // 750
    assert state.slowed(terms, START + 30 * SECOND)[0] == terms.interval
    state.slow(START + SECOND)
    assert state.slowed(terms, START + SECOND)[0] > 3 * terms.interval


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 2 * SECOND), st.lists(row, min_size=1, max_size=20)),
        st.tuples(st.just("charge"), st.integers(0, SECOND), st.integers(1, 200)),
        st.tuples(st.just("slow"), st.integers(0, 3 * SECOND), st.none()),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(per_second=rates, script=steps)
def test_lua_and_python_agree(client: redis.Redis, per_second: int, script: list[tuple[str, int, Any]]) -> None:
    """The shared limits in Lua and the fallback in Python give the same results, to the microsecond."""
    run = client.register_script(limits._SCRIPT)
    key = f"test:{{{uuid.uuid4().hex}}}"
    state, terms, now = State(), Terms.of(per_second), START
    fixed = [
        terms.interval,
        terms.tolerance,
        terms.reply_horizon,
        terms.bulk_horizon,
        terms.pair_interval,
        terms.pair_tolerance,
    ]
    for action, pause, given_ in script:
        now += pause
        if action == "take":
            keys = [key, *(f"{key}:{conversation}" for conversation, _ in given_)]
            flat = run(keys=keys, args=[now, "take", *fixed, *(int(bulk) for _, bulk in given_)])
            expected = state.take(terms, given_, now)
            assert list(zip(flat[::2], flat[1::2], strict=True)) == [tuple(answer) for answer in expected]
        elif action == "charge":
            run(keys=[key], args=[now, "charge", *fixed, given_])
            state.charge(terms, given_, now)
        else:
            run(keys=[key], args=[now, "slow", *fixed])
            state.slow(now)
        stored = [int(value or 0) for value in client.hmget(key, "t", "f", "a")]
        assert stored == [state.arrival, state.factor, state.factor_at]


def test_bursts_of_all_processes_together_stay_within_the_limit() -> None:
    """Without Redis each of four processes limits itself to its share. All shares together stay within the limit."""
    terms = Terms.of(80, share=1 / 4)
    assert 4 * int(terms.tolerance / terms.interval + SECOND / terms.interval) <= 80


def test_starts_are_spread_evenly() -> None:
    """Calls of a busy number are spread evenly: the time between two starts is always one interval."""
    moments = [
        moment for moment, _ in starts(80, [(20_000, [(20 * n + i, False) for i in range(20)]) for n in range(50)])
    ]
    assert {later - earlier for earlier, later in pairwise(moments)} == {Terms.of(80).interval}
