"""One call of the sender: the right credentials, the right trace, a deadline, and a judgement on the answer."""

import asyncio
import time
from collections.abc import Callable

from opentelemetry import context

from waypost.cloudapi import messages
from waypost.cloudapi.graph.client import Accepted, Credentials, GraphClient
from waypost.cloudapi.graph.errors import GraphError, GraphOutcomeUnknown
from waypost.contracts.registry import Number
from waypost.sending import gate
from waypost.sending.claims import Claimed, Ended
from waypost.sending.outcome import Outcome, judge
from waypost.store.outbox import Ending, Head
from waypost.telemetry import metrics, tracing

CORRELATION = "waypost:"
"""What `biz_opaque_callback_data` of our messages starts with; the row's correlation follows."""


class Caller:
    """Makes the calls that rows ask for; never raises what Graph does wrong."""

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

    async def call(self, claimed: Claimed) -> Ended:
        """Send a claimed row, with the token that the number has now. Runs in a task of its own."""
        head = claimed.head
        number = self._numbers(head.number_id)
        if number is None:
            return self.not_made(claimed)
        context.attach(tracing.context_from(head.traceparent))
        started = time.monotonic()
        answer: Accepted | GraphError | None
        metrics.graph_calls_in_flight.inc()
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await self._ask(head, number)
        except messages.InvalidMessage:
            ending = Ending(head.outbox_id, "failed", reason="InvalidMessage")
            return Ended(head, Outcome(ending, "failed", graph_answered=None), claimed.probe, None)
        except TimeoutError:
            answer = GraphOutcomeUnknown(f"no answer within {self._deadline_s:g} s")
        except GraphError as error:
            answer = error
        finally:
            metrics.graph_calls_in_flight.dec()
        outcome = judge(head, answer, number, draw=self._draw)
        call = "mark_read" if head.kind == "read" else "send"
        metrics.graph_call_seconds.labels(call, outcome.result).observe(time.monotonic() - started)
        digest = gate.token_digest(number, with_proof=outcome.proof_refused)
        return Ended(head, outcome, claimed.probe, digest)

    async def _ask(self, head: Head, number: Number) -> Accepted | None:
        credentials = Credentials(number.access_token, number.app_secret_proof)
        if head.kind == "read":
            await self._graph.mark_read(
                credentials,
                head.number_id,
                str(head.body.get("message_id")),
                typing_indicator=bool(head.body.get("typing")),
            )
            return None
        payload = messages.addressed(
            head.body, to=head.wa_id, recipient=head.user_id, callback_data=f"{CORRELATION}{head.correlation}"
        )
        return await self._graph.send(credentials, head.number_id, payload)

    def not_made(self, claimed: Claimed) -> Ended:
        """The call was certainly not made: the row goes back."""
        ending = Ending(claimed.head.outbox_id, "queued")
        return Ended(claimed.head, Outcome(ending, "retry", graph_answered=None), claimed.probe, None)

    def interrupted(self, claimed: Claimed) -> Ended:
        """The call ended in a way that tells nothing, such as the end of the process."""
        ending = Ending(claimed.head.outbox_id, "unknown", reason="Interrupted")
        return Ended(claimed.head, Outcome(ending, "unknown", graph_answered=None), claimed.probe, None)
