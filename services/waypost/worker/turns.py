"""Handles a lane's events.

The bot takes a turn for each message. Statuses settle sends. Other events are recorded.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy import Connection

from waypost.cloudapi.inbound import delivery, records
from waypost.contracts.registry import Number
from waypost.contracts.states import Direction
from waypost.lanes.handler import Unhandled
from waypost.sending import settle
from waypost.store import conversations
from waypost.store.claims import WaitingEvent
from waypost.store.conversations import Conversation, Person
from waypost.telemetry import metrics, tracing
from waypost.worker.bots import BotSource
from waypost.worker.changes import Changes
from waypost.worker.event_handling import EventHandling


class Turns:
    """The handler that a drain calls for each batch."""

    def __init__(
        self,
        numbers: Callable[[str], Number | None],
        *,
        bots: BotSource,
        deadline: Callable[[], AbstractContextManager[None]],
        wake_sender: Callable[[Iterable[int]], None],
        charge: Callable[[Mapping[str, int]], None] = lambda _incoming: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.numbers = numbers
        self.bots = bots
        self.deadline = deadline
        self.wake_sender = wake_sender
        self.charge = charge
        """Called with the count of inbound messages of each number, as Meta's throughput counts both directions."""
        self.clock = clock

    def begin(self, connection: Connection, events: Sequence[WaitingEvent]) -> "TurnBatch":
        """Parses the events and reads the conversations that they belong to."""
        parsed: dict[int, records.Inbound | records.UnreadableEvent] = {}
        people: list[Person] = []
        event_ids: list[int] = []
        for event in events:
            parsed[event.id] = item = _parse(event)
            contact = _contact(item)
            if contact is not None and (contact.wa_id or contact.user_id):
                name = item.profile_name if isinstance(item, records.InboundMessage) else None
                people.append(Person(event.number_id, contact.wa_id, contact.user_id, name, event.lane))
                event_ids.append(event.id)
        loaded = conversations.load(connection, people) if people else []
        return TurnBatch(self, parsed, dict(zip(event_ids, loaded, strict=True)))


def _parse(event: WaitingEvent) -> records.Inbound | records.UnreadableEvent:
    try:
        return delivery.parse(event.payload)
    except records.UnreadableEvent as error:
        return error


def _contact(item: records.Inbound | records.UnreadableEvent) -> records.Identity | None:
    """Returns the contact to whose conversation an event belongs. Returns None for a status or a group's message."""
    match item:
        case records.InboundMessage(sender=person, group_id=None):
            # A contact who has changed number is found by the old one.
            return item.changed_from or person
        case records.Echo(recipient=person, group_id=None):
            return person
        case records.Standby() | records.Preference() | records.Call():
            return item.contact
        case _:
            return None


class TurnBatch:
    """The effects of a batch of events. `store` writes them all.

    An event sees the effects of earlier events of the same conversation.
    """

    def __init__(
        self,
        turns_: Turns,
        parsed: dict[int, records.Inbound | records.UnreadableEvent],
        loaded: dict[int, Conversation],
    ) -> None:
        self._turns = turns_
        self._parsed = parsed
        self._conversation_of = {event_id: conversation.id for event_id, conversation in loaded.items()}
        self._conversations = {conversation.id: conversation for conversation in loaded.values()}
        self._changes = Changes()
        self._statuses: list[tuple[WaitingEvent, records.InboundStatus]] = []
        self._received: list[float] = []
        self._settled: set[int] = set()

    def handle(self, event: WaitingEvent) -> str | None:
        """Handles one event; see `waypost.lanes.handler.Batch`."""
        item = self._parsed[event.id]
        if isinstance(item, records.UnreadableEvent):
            raise Unhandled(item.reason)
        for name in item.unknown:
            metrics.events_unknown_total.labels(name).inc()
        reason = None
        if isinstance(item, records.InboundStatus):
            # Its span starts in `store`, which finds the send that the span links to.
            self._statuses.append((event, item))
        else:
            reason = self._traced(event, item)
        self._received.append(event.received_at.timestamp())
        return reason

    def _traced(self, event: WaitingEvent, item: records.Inbound) -> str | None:
        with tracing.tracer().start_as_current_span(
            f"process {event.kind}",
            context=tracing.context_from(event.traceparent),
            kind=SpanKind.CONSUMER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if span.is_recording():
                span.set_attributes(_attributes(event))
            try:
                reason = self._handle(event, item)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise
            if reason is not None:
                span.set_attribute("waypost.reason", reason)
        return reason

    def _handle(self, event: WaitingEvent, item: records.Inbound) -> str | None:
        handling = self._handling(event)
        reason = handling.handle(item)
        # An event that fails raises before this line, so that it leaves the batch unchanged.
        self._collect(handling)
        return reason

    def _handling(self, event: WaitingEvent) -> EventHandling:
        conversation_id = self._conversation_of.get(event.id)
        conversation = None if conversation_id is None else self._conversations[conversation_id]
        return EventHandling(self._turns, event, conversation)

    def _collect(self, handling: EventHandling) -> None:
        self._conversations |= handling.changes.conversations
        self._changes.add(handling.changes)

    def give_up(self, event: WaitingEvent) -> None:
        """Records an event whose last attempt failed; see `waypost.lanes.handler.Batch`."""
        item = self._parsed[event.id]
        if isinstance(item, records.UnreadableEvent):
            return
        handling = self._handling(event)
        handling.give_up(item)
        self._collect(handling)

    def store(self, connection: Connection) -> None:
        """Writes all effects of the batch; see `waypost.lanes.handler.Batch`."""
        self._changes.store(connection)
        if self._statuses:
            began_ns = time.time_ns()
            applied = settle.settle(connection, [status for _, status in self._statuses])
            self._settled = set(applied.settled)
            for (event, status), sent in zip(self._statuses, applied.traceparents, strict=True):
                _trace_status(event, status, sent, began_ns)

    def committed(self) -> None:
        """Wakes the sender for the messages that were queued; see `waypost.lanes.handler.Batch`."""
        woken = self._settled | {row.conversation_id for row in self._changes.outgoing}
        if woken:
            self._turns.wake_sender(woken)
        incoming = Counter(message.number_id for message in self._changes.messages if message.direction is Direction.IN)
        if incoming:
            self._turns.charge(incoming)
        now = time.time()
        for received in self._received:
            metrics.ack_to_done_seconds.observe(max(now - received, 0.0))


def _attributes(event: WaitingEvent) -> dict[str, str | int]:
    return {
        "messaging.system": "waypost",
        "messaging.destination.name": "inbox",
        "messaging.destination.partition.id": str(event.lane),
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "waypost.event_id": event.id,
        "waypost.number_id": event.number_id,
        "waypost.kind": event.kind,
        "waypost.lane": event.lane,
        "waypost.attempt": event.attempts + 1,
    }


def _trace_status(event: WaitingEvent, status: records.InboundStatus, sent: str | None, began_ns: int) -> None:
    """Records a span for a status. It is a child of the span of the delivery that contained the status.

    The span is linked to the trace of the send that the status is about.
    """
    link = tracing.link_to(sent)
    span = tracing.tracer().start_span(
        "process status",
        context=tracing.context_from(event.traceparent),
        kind=SpanKind.CONSUMER,
        links=[link] if link else [],
        start_time=began_ns,
    )
    if span.is_recording():
        span.set_attributes({**_attributes(event), "waypost.status": status.status})
    span.end()
