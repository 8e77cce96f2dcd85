"""Tests of what Meta's answers mean, as a table, and of the waiting times."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi.graph.errors import (
    RULES,
    GraphError,
    GraphOutcomeUnknown,
    GraphRefused,
    GraphUnreachable,
    Verdict,
)
from waypost.cloudapi.graph.messaging import Accepted
from waypost.sending import backoff
from waypost.sending.outcome import LONG_PAUSE_S, PAUSE_S, judge, pause_s

from .conftest import TEMPLATE, number
from .test_gate import A_TEMPLATE, ROW

READ = replace(ROW, kind="read", body={"message_id": "wamid.in"})
LAST = replace(ROW, attempts=backoff.MAX_ATTEMPTS - 1)
PROOF_REFUSED = GraphRefused(100, 400, proof_refused=True)
PAUSED_BY_PROOF = {"pause_number_s": 60.0, "pause_reason": PROOF_REFUSED.title, "proof_refused": True}

TABLE: dict[str, tuple[Any, Accepted | GraphError | None, str, dict[str, Any]]] = {
    "accepted": (ROW, Accepted("wamid.1"), "sent", {"number_works": True}),
    "no connection": (ROW, GraphUnreachable("no"), "queued", {"graph_answered": False}),
    "an outage never uses up attempts": (LAST, GraphUnreachable("no"), "queued", {"graph_answered": False}),
    "a proxy refuses": (LAST, GraphUnreachable("no", http_status=403), "queued", {"graph_answered": False}),
    "no usable answer": (ROW, GraphOutcomeUnknown("?"), "unknown", {"graph_answered": False}),
    "error at Meta": (ROW, GraphRefused(131000, 500), "unknown", {"graph_answered": False}),
    "throughput": (ROW, GraphRefused(130429, 400), "queued", {"slow_down": True}),
    "account rate": (ROW, GraphRefused(80007, 400), "queued", {"slow_down": True}),
    "throughput, too often": (LAST, GraphRefused(130429, 400), "failed", {"slow_down": True}),
    "token": (ROW, GraphRefused(190, 401), "queued", {"pause_number_s": 60.0, "pause_code": 190}),
    "permission": (ROW, GraphRefused(10, 403), "queued", {"pause_number_s": 60.0, "pause_code": 10}),
    "asset access": (ROW, GraphRefused(200, 403), "queued", {"pause_number_s": 60.0, "pause_code": 200}),
    "spam": (ROW, GraphRefused(131048, 400), "queued", {"pause_number_s": 900.0, "proof_refused": False}),
    "payment": (ROW, GraphRefused(131042, 400), "queued", {"pause_number_s": 60.0, "pause_code": 131042}),
    "locked": (ROW, GraphRefused(131031, 403), "queued", {"pause_number_s": 900.0, "pause_code": 131031}),
    "a paused number never uses up attempts": (LAST, GraphRefused(190, 401), "queued", {"pause_code": 190}),
    "pair": (ROW, GraphRefused(131056, 400), "queued", {"pause_pair_s": 6.0}),
    "pair again": (replace(ROW, attempts=2), GraphRefused(131056, 400), "queued", {"pause_pair_s": 64.0}),
    "window": (ROW, GraphRefused(131047, 400), "failed", {"close_window": True}),
    "marketing": (ROW, GraphRefused(131050, 400), "failed", {"stop_marketing": True}),
    "undeliverable": (ROW, GraphRefused(131026, 400), "failed", {"number_works": True}),
    "proof": (LAST, PROOF_REFUSED, "queued", PAUSED_BY_PROOF),
    "bad parameter": (ROW, GraphRefused(100, 400), "failed", {}),
    "template": (ROW, GraphRefused(132001, 404), "failed", {}),
    "capability": (ROW, GraphRefused(3, 500), "failed", {}),
    "read": (READ, None, "sent", {"number_works": True}),
    "read, no connection": (READ, GraphUnreachable("no"), "failed", {}),
    "read, no usable answer": (READ, GraphOutcomeUnknown("?"), "failed", {}),
    "read, token": (READ, GraphRefused(190, 401), "failed", {"pause_number_s": 60.0}),
    "read, proof": (READ, PROOF_REFUSED, "failed", PAUSED_BY_PROOF),
    "read, throughput": (READ, GraphRefused(130429, 400), "failed", {"slow_down": True}),
}


@pytest.mark.parametrize(("row", "answer", "state", "expected"), TABLE.values(), ids=TABLE)
def test_an_answer_is_judged_as_the_table_says(
    row: Any, answer: Accepted | GraphError | None, state: str, expected: dict[str, Any]
) -> None:
    """For each answer, the table gives the row's next state and the other consequences."""
    outcome = judge(row, answer, number(), draw=lambda: 0.5)
    assert outcome.update.state == state
    for name, value in expected.items():
        assert getattr(outcome, name) == value


CODES = [
    (code, rule)
    for rule in RULES
    for key in rule.codes
    for code in ((key[0], key[-1]) if isinstance(key, range) else (key,))
]


@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    "code", [code for code, rule in CODES if rule.verdict in (Verdict.FINAL, Verdict.OPERATOR, Verdict.OPTED_OUT)]
)
def test_a_permanent_code_is_never_retried(code: int) -> None:
    """G7: each permanent code of Meta's list fails the row at the first answer. The row stores the code."""
    update = judge(ROW, GraphRefused(code, 400), number(outside_window=TEMPLATE), draw=lambda: 0.5).update
    assert (update.state, update.code) == ("failed", code)


@pytest.mark.fault("G6")
@pytest.mark.parametrize("code", [code for code, rule in CODES if rule.verdict is Verdict.AMBIGUOUS])
def test_an_ambiguous_code_never_leads_to_another_send(code: int) -> None:
    """G4: after an ambiguous code the row is unknown and is never sent again, because Meta may have sent it.

    This holds for any number and any count of attempts.
    """
    assert judge(ROW, GraphRefused(code, 500), number(), draw=lambda: 0.5).update.state == "unknown"


def test_an_outage_leaves_most_attempts_and_waits_for_at_most_half_a_minute() -> None:
    """However long an outage is, it uses up few attempts, and the message is tried again soon after it."""
    row = ROW
    delays = []
    for _ in range(200):
        update = judge(row, GraphUnreachable("no", http_status=403), number(), draw=lambda: 0.999).update
        assert update.state == "queued"
        delays.append(update.delay_s)
        row = replace(row, attempts=row.attempts + update.counts)
    assert row.attempts == backoff.MOST_OUTAGE_ATTEMPTS < backoff.MAX_ATTEMPTS / 2
    assert (delays[0] < 1, max(delays) <= 32) == (True, True)


@pytest.mark.parametrize(("asked_s", "delay_s"), [(None, 0.5), (7.0, 7.5), (86_400.0, backoff.OUTAGE_WAIT_CAP_S + 0.5)])
def test_a_proxy_can_ask_for_a_short_wait_only(asked_s: float | None, delay_s: float) -> None:
    """The wait that an answer asks for is respected, but if it is not Graph's answer, then only up to a minute."""
    answer = GraphUnreachable("no", http_status=429, retry_after_s=asked_s)
    assert judge(ROW, answer, number(), draw=lambda: 0.5).update.delay_s == delay_s


def test_a_reply_that_met_a_closed_window_is_queued_again_as_the_numbers_template() -> None:
    """A reply that met a closed window is queued again as the number's template.

    Meta checks for 131047 before it processes a message, so nothing has gone out.
    """
    outcome = judge(ROW, GraphRefused(131047, 400), number(outside_window=TEMPLATE), draw=lambda: 0.5)
    assert outcome.update.state == "queued"
    assert outcome.update.body == {"type": "template", "template": {"name": "follow_up", "language": {"code": "en"}}}


@pytest.mark.parametrize(
    "row", [replace(ROW, body=A_TEMPLATE), replace(ROW, priority=1), replace(ROW, consent_notice=True)]
)
def test_nothing_else_becomes_a_template(row: Any) -> None:
    """Templates, bulk messages and notices do not become a template when they meet a closed window.

    A template would meet the closed window every time. Bulk messages and notices are not replies.
    """
    outcome = judge(row, GraphRefused(131047, 400), number(outside_window=TEMPLATE), draw=lambda: 0.5)
    assert outcome.update.state == "failed"


def test_blocks_pause_for_longer_than_a_token() -> None:
    """A spam limit pauses a number for longer than a refused token does.

    A try every minute would prolong the spam limit.
    """
    assert (pause_s(190), pause_s(131048)) == (PAUSE_S, LONG_PAUSE_S)


draws = st.floats(0, 1, exclude_max=True)


@given(attempts=st.integers(1, 1000), draw=draws)
def test_a_delay_lies_between_nothing_and_its_doubled_bound(attempts: int, draw: float) -> None:
    """With full jitter a delay lies between 0 and a bound of 1, 2, 4 … 300 s."""
    bound = min(backoff.CAP_S, 2.0 ** min(attempts - 1, 30))
    assert 0 <= backoff.delay_s(attempts, retry_after_s=None, draw=lambda: draw) <= bound


@given(attempts=st.integers(1, 100), asked=st.floats(0, 86_400), draw=draws)
def test_a_delay_is_never_shorter_than_meta_asked_for(attempts: int, asked: float, draw: float) -> None:
    """A delay is never shorter than the time in Retry-After."""
    assert backoff.delay_s(attempts, retry_after_s=asked, draw=lambda: draw) >= asked


@given(attempts=st.integers(0, 10_000))
def test_a_pair_rests_at_least_six_seconds_and_never_more_than_an_hour(attempts: int) -> None:
    """A pair waits 4^X seconds, as Meta suggests, but at least six seconds and at most an hour."""
    assert 6 <= backoff.pair_delay_s(attempts) <= 3600
