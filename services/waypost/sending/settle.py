"""Applies statuses and acts on the failures that they report.

Depending on the failure, messages to a contact are stopped, or a pair or a number is paused.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from waypost.cloudapi.graph import errors
from waypost.cloudapi.graph.errors import Verdict
from waypost.cloudapi.inbound.records import InboundStatus
from waypost.sending import backoff, outcome
from waypost.store import pauses, statuses
from waypost.store.statuses import Applied
from waypost.telemetry import metrics

REPORTED = 400
"""Stands for the HTTP status, which an error in a status webhook lacks. 400 is right because the failure is certain."""


def settle(connection: Connection, reported: Sequence[InboundStatus]) -> Applied:
    """Writes statuses into messages and outbox, in the caller's transaction, and acts on failures.

    Conversations in `Applied.settled` may have rows that can be sent now. After the commit, wake the sender for
    these conversations.
    """
    applied = statuses.apply(connection, reported)
    for status, matched in zip(reported, applied.matched, strict=True):
        label = status.status if status.status in statuses.RANKS else "other"
        metrics.statuses_total.labels(status.number_id, label if matched else "unmatched").inc()
    stopped: list[int] = []
    for failure in applied.failures:
        match errors.verdict(failure.code, REPORTED):
            case Verdict.OPTED_OUT:
                stopped.append(failure.conversation_id)
            case Verdict.NEEDS_TEMPLATE:
                pauses.close_window(connection, failure.conversation_id, sent_at=failure.sent_at)
            case Verdict.PAUSE_PAIR:
                pauses.pause_pair(connection, failure.conversation_id, seconds=backoff.PAIR_FIRST_S)
            case Verdict.PAUSE_NUMBER:
                pauses.pause_number(
                    connection,
                    failure.number_id,
                    seconds=outcome.pause_s(failure.code),
                    code=failure.code,
                    reason=errors.title(failure.code),
                    token_digest=None,
                )
            case _:
                pass
    if stopped:
        pauses.stop_marketing(connection, stopped)
    return applied
