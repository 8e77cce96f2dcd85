"""Makes one Graph call for the sender and judges the answer.

The call has current credentials, a trace and a deadline.
"""

import asyncio
import time
from collections.abc import Callable

from opentelemetry import context

from waypost.cloudapi import messages
from waypost.cloudapi.graph.client import Accepted, Credentials, GraphClient
from waypost.cloudapi.graph.errors import GraphError, GraphOutcomeUnknown
from waypost.contracts.registry import Number
from waypost.contracts.states import OutboxKind, OutboxState, SendReason
from waypost.sending import gate
from waypost.sending.claims import Claimed, FinishedCall
from waypost.sending.outcome import Outcome, SendResult, judge
from waypost.store.outbox import OutboxRow, RowUpdate
from waypost.store.statuses import CALLBACK_PREFIX
from waypost.telemetry import metrics, tracing


class GraphCaller:
    """Makes the Graph calls for outbox rows. Errors of the Graph API are not raised but become part of the outcome."""

    def __init__(
        self,
        graph: GraphClient,
        numbers: Callable[[str], Number | None],
        *,
        deadline_s: float,
        draw: Callable[[], float],
    ) -> None:
        self._graph = graph
        self._numbers = numbers
        self._deadline_s = deadline_s
        self._draw = draw

    async def call(self, claimed: Claimed) -> FinishedCall:
        """Sends a claimed row, with the number's current token. It runs in an asyncio task of its own."""
        row = claimed.row
        number = self._numbers(row.number_id)
        if number is None:
            return self.not_made(claimed)
        context.attach(tracing.context_from(row.traceparent))
        started = time.monotonic()
        answer: Accepted | GraphError | None
        metrics.graph_calls_in_flight.inc()
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await self._ask(row, number)
        except messages.InvalidMessage:
            update = RowUpdate(row.outbox_id, OutboxState.FAILED, reason=SendReason.INVALID_MESSAGE)
            return FinishedCall(row, Outcome(update, SendResult.FAILED, graph_answered=None), claimed.probe, None)
        except TimeoutError:
            answer = GraphOutcomeUnknown(f"no answer within {self._deadline_s:g} s")
        except GraphError as error:
            answer = error
        finally:
            metrics.graph_calls_in_flight.dec()
        outcome = judge(row, answer, number, draw=self._draw)
        call = "mark_read" if row.kind == OutboxKind.READ else "send"
        metrics.graph_call_seconds.labels(call, outcome.result).observe(time.monotonic() - started)
        digest = gate.token_digest(number, with_proof=outcome.proof_refused)
        return FinishedCall(row, outcome, claimed.probe, digest)

    async def _ask(self, row: OutboxRow, number: Number) -> Accepted | None:
        credentials = Credentials(number.access_token, number.app_secret_proof)
        if row.kind == OutboxKind.READ:
            await self._graph.mark_read(
                credentials,
                row.number_id,
                str(row.body.get("message_id")),
                typing_indicator=bool(row.body.get("typing")),
            )
            return None
        payload = messages.addressed(
            row.body, to=row.wa_id, recipient=row.user_id, callback_data=f"{CALLBACK_PREFIX}{row.correlation}"
        )
        return await self._graph.send(credentials, row.number_id, payload)

    def not_made(self, claimed: Claimed) -> FinishedCall:
        """Returns the result for a call that was certainly not made. The call's row goes back to the queue."""
        update = RowUpdate(claimed.row.outbox_id, OutboxState.QUEUED)
        return FinishedCall(
            claimed.row, Outcome(update, SendResult.RETRY, graph_answered=None), claimed.probe, token_digest=None
        )

    def interrupted(self, claimed: Claimed) -> FinishedCall:
        """Returns the result for a call that got no answer, for example because the process ended."""
        update = RowUpdate(claimed.row.outbox_id, OutboxState.UNKNOWN, reason=SendReason.INTERRUPTED)
        return FinishedCall(
            claimed.row, Outcome(update, SendResult.UNKNOWN, graph_answered=None), claimed.probe, token_digest=None
        )
