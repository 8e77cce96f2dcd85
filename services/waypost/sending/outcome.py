"""Decides what the Graph API's answer to a call means for the outbox row, the number, the pair and the contact.

The code has no side effects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from waypost.cloudapi.graph.errors import GraphError, GraphOutcomeUnknown, GraphRefused, GraphUnreachable, Verdict
from waypost.cloudapi.graph.messaging import Accepted
from waypost.contracts.registry import Number
from waypost.contracts.states import OutboxKind, OutboxState, Priority
from waypost.sending import backoff, gate
from waypost.store.outbox import OutboxRow, RowUpdate

PAUSE_S = 60.0
"""Seconds. A paused number tries one message a minute: enough to recover by itself, not enough to make things worse."""

LONG_PAUSE_S = 900.0
_LONG_PAUSES = frozenset({368, 131031, 131048})
"""Meta's error codes for blocks and spam limits, which further traffic would prolong."""


class SendResult(StrEnum):
    """Results of a send, as the metrics count them."""

    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    RETRY = "retry"
    """The same row is sent again later."""
    PAUSED = "paused"
    """The number or the pair has to wait."""
    REFUSED = "refused"
    """The gate refused the row; Graph was not asked."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The update of the outbox row, and all other consequences of the call's answer."""

    update: RowUpdate
    result: SendResult
    pause_number_s: float = 0.0
    pause_code: int = 0
    pause_reason: str = ""
    """Reason of the pause, for the console and the conditions."""
    proof_refused: bool = False
    """Whether Meta refused the proof of the app secret; a new proof then ends the pause."""
    pause_pair_s: float = 0.0
    stop_marketing: bool = False
    close_window: bool = False
    slow_down: bool = False
    """Whether Meta said that the number sends too fast."""
    number_works: bool = False
    """Whether the answer shows that the cause of the number's pause is over."""
    graph_answered: bool | None = True
    """False when Graph, as far as this number sees it, is down; None when it was not asked."""


def judge(
    row: OutboxRow, answer: Accepted | GraphError | None, number: Number | None, *, draw: Callable[[], float]
) -> Outcome:
    """Returns the outcome of a call from its answer. If `answer` is None, a message was marked as read.

    `draw` returns a number in [0, 1) for the jitter of a retry.
    """
    if row.kind == OutboxKind.READ:
        return _judge_read(row, answer)
    match answer:
        case None:
            return Outcome(RowUpdate(row.outbox_id, OutboxState.SENT), SendResult.SENT, number_works=True)
        case Accepted():
            update = RowUpdate(row.outbox_id, OutboxState.SENT, wamid=answer.wamid)
            return Outcome(update, SendResult.SENT, number_works=True)
        case GraphRefused():
            return _refused(row, answer, number, draw)
        case GraphUnreachable():
            return _away(row, answer, draw)
        case GraphOutcomeUnknown():
            return _unknown(row, None, str(answer), graph_answered=False)
        case _:
            return _unknown(row, None, type(answer).__name__, graph_answered=False)


def _refused(row: OutboxRow, answer: GraphRefused, number: Number | None, draw: Callable[[], float]) -> Outcome:
    match answer.verdict:
        case Verdict.RETRY:
            outcome = _again(row, answer, draw)
            return Outcome(outcome.update, outcome.result, slow_down=True)
        case Verdict.AMBIGUOUS:
            return _unknown(row, answer.code, answer.title, graph_answered=False)
        case Verdict.PAUSE_NUMBER:
            update = RowUpdate(row.outbox_id, OutboxState.QUEUED, code=answer.code, reason=answer.title)
            return _pausing(update, SendResult.PAUSED, answer)
        case Verdict.PAUSE_PAIR:
            wait = max(backoff.pair_delay_s(row.attempts + 1), answer.retry_after_s or 0.0)
            update = _queued_again(row, answer.code, answer.title, wait)
            result = SendResult.FAILED if update.state == OutboxState.FAILED else SendResult.PAUSED
            return Outcome(update, result, pause_pair_s=wait, number_works=True)
        case Verdict.NEEDS_TEMPLATE:
            return _outside_window(row, answer, number)
        case Verdict.OPTED_OUT:
            outcome = _failed(row, answer)
            return Outcome(outcome.update, outcome.result, stop_marketing=True, number_works=True)
        case Verdict.FINAL | Verdict.OPERATOR:
            return _failed(row, answer)


def _pausing(update: RowUpdate, result: SendResult, answer: GraphRefused) -> Outcome:
    return Outcome(
        update,
        result,
        pause_number_s=pause_s(answer.code),
        pause_code=answer.code,
        pause_reason=answer.title,
        proof_refused=answer.proof_refused,
    )


def _failed(row: OutboxRow, answer: GraphRefused) -> Outcome:
    update = RowUpdate(row.outbox_id, OutboxState.FAILED, code=answer.code, reason=answer.title, counts=True)
    return Outcome(update, SendResult.FAILED, number_works=True)


def _unknown(row: OutboxRow, code: int | None, reason: str, *, graph_answered: bool) -> Outcome:
    update = RowUpdate(row.outbox_id, OutboxState.UNKNOWN, code=code, reason=reason, counts=True)
    return Outcome(update, SendResult.UNKNOWN, graph_answered=graph_answered)


def _away(row: OutboxRow, answer: GraphUnreachable, draw: Callable[[], float]) -> Outcome:
    """Queues the row again, however long the outage is: the message was not sent and nothing is wrong with it."""
    wait_s = min(answer.retry_after_s or 0.0, backoff.OUTAGE_WAIT_CAP_S)
    delay_s = backoff.delay_s(row.attempts + 1, retry_after_s=wait_s, draw=draw)
    counts = row.attempts < backoff.MOST_OUTAGE_ATTEMPTS
    update = RowUpdate(row.outbox_id, OutboxState.QUEUED, reason=str(answer), delay_s=delay_s, counts=counts)
    return Outcome(update, SendResult.RETRY, graph_answered=False)


def _again(row: OutboxRow, answer: GraphRefused, draw: Callable[[], float]) -> Outcome:
    delay = backoff.delay_s(row.attempts + 1, retry_after_s=answer.retry_after_s, draw=draw)
    update = _queued_again(row, answer.code, answer.title, delay)
    return Outcome(update, SendResult.FAILED if update.state == OutboxState.FAILED else SendResult.RETRY)


def _queued_again(row: OutboxRow, code: int | None, reason: str, delay_s: float) -> RowUpdate:
    state = OutboxState.QUEUED if row.attempts + 1 < backoff.MAX_ATTEMPTS else OutboxState.FAILED
    return RowUpdate(row.outbox_id, state, code=code, reason=reason, delay_s=delay_s, counts=True)


def _outside_window(row: OutboxRow, answer: GraphRefused, number: Number | None) -> Outcome:
    template = None if number is None else number.outside_window
    if template is None or gate.is_template(row.body) or row.consent_notice or row.priority >= Priority.BULK:
        failed = _failed(row, answer)
        return Outcome(failed.update, SendResult.FAILED, close_window=True, number_works=True)
    update = RowUpdate(
        row.outbox_id,
        OutboxState.QUEUED,
        code=answer.code,
        reason=answer.title,
        counts=True,
        body=gate.template_body(template),
    )
    return Outcome(update, SendResult.RETRY, close_window=True, number_works=True)


def _judge_read(row: OutboxRow, answer: Accepted | GraphError | None) -> Outcome:
    """Judges the answer to a mark as read. Nothing depends on a mark as read, so it is never repeated."""
    if answer is None or isinstance(answer, Accepted):
        return Outcome(RowUpdate(row.outbox_id, OutboxState.SENT), SendResult.SENT, number_works=True)
    if isinstance(answer, GraphRefused):
        update = RowUpdate(row.outbox_id, OutboxState.FAILED, code=answer.code, reason=answer.title, counts=True)
        if answer.verdict is Verdict.PAUSE_NUMBER:
            return _pausing(update, SendResult.FAILED, answer)
        return Outcome(update, SendResult.FAILED, slow_down=answer.verdict is Verdict.RETRY)
    update = RowUpdate(row.outbox_id, OutboxState.FAILED, reason=str(answer), counts=True)
    return Outcome(update, SendResult.FAILED, graph_answered=False)


def pause_s(code: int) -> float:
    """Returns the seconds for which a number is paused after this error code of Meta."""
    return LONG_PAUSE_S if code in _LONG_PAUSES else PAUSE_S
