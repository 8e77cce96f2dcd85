"""What a call's answer means for its row, its number, its pair and its contact. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from waypost.cloudapi.graph.errors import GraphError, GraphOutcomeUnknown, GraphRefused, GraphUnreachable, Verdict
from waypost.cloudapi.graph.messaging import Accepted
from waypost.contracts.registry import Number
from waypost.sending import backoff, gate
from waypost.store.outbox import Ending, Head

PAUSE_S = 60.0
"""A paused number tries one message a minute: often enough to come back by itself, too seldom to make things worse."""

LONG_PAUSE_S = 900.0
_LONG_PAUSES = frozenset({368, 131031, 131048})
"""Blocks and spam limits, which more traffic makes longer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The row's ending and what else has to be written."""

    ending: Ending
    result: str
    """For the metric: sent, failed, unknown, retry or paused."""
    pause_number_s: float = 0.0
    pause_code: int = 0
    pause_reason: str = ""
    """Why, for the console and conditions."""
    proof_refused: bool = False
    """The pause is for the proof of the app secret, so that another one ends it."""
    pause_pair_s: float = 0.0
    stop_marketing: bool = False
    close_window: bool = False
    slow_down: bool = False
    """Meta said that the number goes too fast."""
    number_works: bool = False
    """The answer shows that whatever paused the number is over."""
    graph_answered: bool | None = True
    """False when Graph, as far as this number sees it, is down; None when it was not asked."""


def judge(
    head: Head, answer: Accepted | GraphError | None, number: Number | None, *, draw: Callable[[], float]
) -> Outcome:
    """What follows from an answer; None is the empty success of marking a message as read.

    `draw` gives a number in [0, 1) for the jitter of a retry.
    """
    if head.kind == "read":
        return _judge_read(head, answer)
    match answer:
        case None:
            return Outcome(Ending(head.outbox_id, "sent"), "sent", number_works=True)
        case Accepted():
            return Outcome(Ending(head.outbox_id, "sent", wamid=answer.wamid), "sent", number_works=True)
        case GraphRefused():
            return _refused(head, answer, number, draw)
        case GraphUnreachable():
            outcome = _again(head, answer, retry_after_s=None, draw=draw)
            return Outcome(outcome.ending, outcome.result, graph_answered=False)
        case GraphOutcomeUnknown():
            return _unknown(head, None, str(answer), graph_answered=False)
        case _:
            return _unknown(head, None, type(answer).__name__, graph_answered=False)


def _refused(head: Head, answer: GraphRefused, number: Number | None, draw: Callable[[], float]) -> Outcome:
    match answer.verdict:
        case Verdict.RETRY:
            outcome = _again(head, answer, retry_after_s=answer.retry_after_s, draw=draw)
            return Outcome(outcome.ending, outcome.result, slow_down=True)
        case Verdict.AMBIGUOUS:
            return _unknown(head, answer.code, answer.title, graph_answered=False)
        case Verdict.PAUSE_NUMBER:
            ending = Ending(head.outbox_id, "queued", code=answer.code, reason=answer.title)
            return _pausing(ending, "paused", answer)
        case Verdict.PAUSE_PAIR:
            wait = max(backoff.pair_delay_s(head.attempts + 1), answer.retry_after_s or 0.0)
            ending = _queued_again(head, answer.code, answer.title, wait)
            result = "failed" if ending.state == "failed" else "paused"
            return Outcome(ending, result, pause_pair_s=wait, number_works=True)
        case Verdict.NEEDS_TEMPLATE:
            return _outside_window(head, answer, number)
        case Verdict.OPTED_OUT:
            outcome = _failed(head, answer)
            return Outcome(outcome.ending, outcome.result, stop_marketing=True, number_works=True)
        case Verdict.FINAL | Verdict.OPERATOR:
            return _failed(head, answer)


def _pausing(ending: Ending, result: str, answer: GraphRefused) -> Outcome:
    return Outcome(
        ending,
        result,
        pause_number_s=pause_s(answer.code),
        pause_code=answer.code,
        pause_reason=answer.title,
        proof_refused=answer.proof_refused,
    )


def _failed(head: Head, answer: GraphRefused) -> Outcome:
    ending = Ending(head.outbox_id, "failed", code=answer.code, reason=answer.title, counts=True)
    return Outcome(ending, "failed", number_works=True)


def _unknown(head: Head, code: int | None, reason: str, *, graph_answered: bool) -> Outcome:
    ending = Ending(head.outbox_id, "unknown", code=code, reason=reason, counts=True)
    return Outcome(ending, "unknown", graph_answered=graph_answered)


def _again(head: Head, answer: GraphError, *, retry_after_s: float | None, draw: Callable[[], float]) -> Outcome:
    delay = backoff.delay_s(head.attempts + 1, retry_after_s=retry_after_s, draw=draw)
    code = answer.code if isinstance(answer, GraphRefused) else None
    ending = _queued_again(head, code, answer.title if isinstance(answer, GraphRefused) else str(answer), delay)
    return Outcome(ending, "failed" if ending.state == "failed" else "retry")


def _queued_again(head: Head, code: int | None, reason: str, delay_s: float) -> Ending:
    state = "queued" if head.attempts + 1 < backoff.MAX_ATTEMPTS else "failed"
    return Ending(head.outbox_id, state, code=code, reason=reason, delay_s=delay_s, counts=True)


def _outside_window(head: Head, answer: GraphRefused, number: Number | None) -> Outcome:
    template = None if number is None else number.outside_window
    if template is None or gate.is_template(head.body) or head.consent_notice or head.priority >= gate.BULK:
        failed = _failed(head, answer)
        return Outcome(failed.ending, "failed", close_window=True, number_works=True)
    ending = Ending(
        head.outbox_id,
        "queued",
        code=answer.code,
        reason=answer.title,
        counts=True,
        body=gate.template_body(template),
    )
    return Outcome(ending, "retry", close_window=True, number_works=True)


def _judge_read(head: Head, answer: Accepted | GraphError | None) -> Outcome:
    """Nothing depends on a read mark, so whatever goes wrong with one is its end."""
    if answer is None or isinstance(answer, Accepted):
        return Outcome(Ending(head.outbox_id, "sent"), "sent", number_works=True)
    if isinstance(answer, GraphRefused):
        ending = Ending(head.outbox_id, "failed", code=answer.code, reason=answer.title, counts=True)
        if answer.verdict is Verdict.PAUSE_NUMBER:
            return _pausing(ending, "failed", answer)
        return Outcome(ending, "failed", slow_down=answer.verdict is Verdict.RETRY)
    ending = Ending(head.outbox_id, "failed", reason=str(answer), counts=True)
    return Outcome(ending, "failed", graph_answered=False)


def pause_s(code: int) -> float:
    """Seconds that a number stays silent after this code."""
    return LONG_PAUSE_S if code in _LONG_PAUSES else PAUSE_S
