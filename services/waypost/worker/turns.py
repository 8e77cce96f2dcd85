"""What is done with a lane's events: messages get a turn of the bot, statuses settle sends, the rest is recorded."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy import Connection

from waypost.bot import consent
from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi import inbound, webhook
from waypost.cloudapi.messages import Outgoing as OutgoingMessage
from waypost.lanes.drain import Unhandled
from waypost.registry import Number
from waypost.sending import settle
from waypost.store import conversations, turns
from waypost.store.conversations import Conversation, Person
from waypost.store.lanes import WaitingEvent
from waypost.telemetry import metrics, tracing
from waypost.worker.bots import Bots, BotUnusable
from waypost.worker.deadline import Deadline

WINDOW: Final = timedelta(hours=24)
"""The customer service window: free-form replies within 24 h of the contact's last message (Meta, Service messages)."""

HUMAN_TAKES_OVER: Final = timedelta(minutes=30)
"""After a message typed by a person in the WhatsApp Business app the bot is silent this long."""


class NumberMissing(Exception):
    """The registry does not name this number (yet). Its events wait for their next attempt."""


class Turns:
    """The handler that a drain calls for each batch."""

    def __init__(
        self,
        numbers: Callable[[str], Number | None],
        *,
        bots: Bots,
        deadline: Deadline,
        wake_sender: Callable[[Iterable[int]], None],
        charge: Callable[[Mapping[str, int]], None] = lambda _incoming: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.numbers = numbers
        self.bots = bots
        self.deadline = deadline
        self.wake_sender = wake_sender
        self.charge = charge
        """Told how many messages came in for each number: Meta's throughput counts both directions."""
        self.clock = clock

    def begin(self, connection: Connection, events: Sequence[WaitingEvent]) -> "TurnBatch":
        """Read the events and the conversations they belong to."""
        parsed: dict[int, inbound.Inbound | inbound.UnreadableEvent] = {}
        people: list[Person] = []
        owners: list[int] = []
        for event in events:
            parsed[event.id] = item = _read(event)
            who = _contact(item)
            if who is not None and (who.wa_id or who.user_id):
                name = item.profile_name if isinstance(item, inbound.InboundMessage) else None
                people.append(Person(event.number_id, who.wa_id, who.user_id, name, event.lane))
                owners.append(event.id)
        loaded = conversations.load(connection, people) if people else []
        return TurnBatch(self, parsed, dict(zip(owners, loaded, strict=True)))


def _read(event: WaitingEvent) -> inbound.Inbound | inbound.UnreadableEvent:
    try:
        return webhook.parse(event.payload)
    except inbound.UnreadableEvent as error:
        return error


def _contact(item: inbound.Inbound | inbound.UnreadableEvent) -> inbound.Identity | None:
    """Whose conversation an event belongs to; None for what belongs to none, such as a status or a group's message."""
    match item:
        case inbound.InboundMessage(sender=person, group_id=None):
            # Someone who changed their number is found by the old one.
            return item.changed_from or person
        case inbound.Echo(recipient=person, group_id=None):
            return person
        case inbound.Standby() | inbound.Preference() | inbound.Call():
            return item.contact
        case _:
            return None


class TurnBatch:
    """The effects of some events; `store` writes them all."""

    def __init__(
        self,
        turns_: Turns,
        parsed: dict[int, inbound.Inbound | inbound.UnreadableEvent],
        loaded: dict[int, Conversation],
    ) -> None:
        self._turns = turns_
        self._parsed = parsed
        self._conversations = loaded
        self._messages: list[turns.Incoming] = []
        self._outgoing: list[turns.Outgoing] = []
        self._changed: dict[int, Conversation] = {}
        self._consents: list[tuple[int, bool]] = []
        self._marketing: list[tuple[int, bool]] = []
        self._moved: list[tuple[int, inbound.Identity]] = []
        self._statuses: list[tuple[WaitingEvent, inbound.InboundStatus]] = []
        self._received: list[float] = []
        self._settled: set[int] = set()

    def handle(self, event: WaitingEvent) -> str | None:
        """One event; see `waypost.lanes.drain.Batch`."""
        item = self._parsed[event.id]
        if isinstance(item, inbound.UnreadableEvent):
            raise Unhandled(item.reason)
        for name in item.unknown:
            metrics.events_unknown_total.labels(name).inc()
        if isinstance(item, inbound.InboundStatus):
            # Its span comes with the effect: only then is known which send it is to be linked to.
            self._statuses.append((event, item))
            self._received.append(event.received_at.timestamp())
            return None
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
                reason = self._dispatch(event, item)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise
            if reason is not None:
                span.set_attribute("waypost.reason", reason)
        self._received.append(event.received_at.timestamp())
        return reason

    def _dispatch(self, event: WaitingEvent, item: inbound.Inbound) -> str | None:
        match item:
            case inbound.InboundMessage():
                return self._message(event, item)
            case inbound.Echo():
                self._take_over(event, "human", HUMAN_TAKES_OVER)
                return None
            case inbound.Standby():
                self._take_over(event, "standby", WINDOW)
                return None
            case inbound.Preference():
                conversation = self._conversations.get(event.id)
                if conversation is None:
                    return "NoContact"
                self._marketing.append((conversation.contact_id, item.value == "stop"))
                return None
            case inbound.Call():
                conversation = self._conversations.get(event.id)
                if conversation is None or item.direction == "BUSINESS_INITIATED":
                    return "Recorded"
                self._extend_window(conversation, event.occurred_at + WINDOW)
                return None
            case _:
                return "Recorded"

    def _take_over(self, event: WaitingEvent, owner: str, duration: timedelta) -> None:
        conversation = self._conversations.get(event.id)
        if conversation is not None:
            conversation.owner = owner
            conversation.owner_until = datetime.fromtimestamp(self._turns.clock(), UTC) + duration
            self._changed[conversation.id] = conversation

    def _message(self, event: WaitingEvent, item: inbound.InboundMessage) -> str | None:
        number = self._turns.numbers(event.number_id)
        if number is None:
            raise NumberMissing(event.number_id)
        if item.group_id is not None:
            return "Group"
        conversation = self._conversations.get(event.id)
        if conversation is None:
            return "NoContact"
        if item.type == "system":
            if item.changed_to is not None:
                self._moved.append((conversation.contact_id, item.changed_to))
                return None
            return "Recorded"
        message = turns.Incoming(
            number_id=event.number_id,
            conversation_id=conversation.id,
            direction="in",
            wamid=item.wamid or None,
            type=item.type,
            body=item.text,
            occurred_at=event.occurred_at,
            traceparent=event.traceparent,
        )
        expires = event.occurred_at + WINDOW
        stale = expires < datetime.fromtimestamp(self._turns.clock(), UTC)
        if stale or conversation.owner != "bot":
            # Nobody answers, but whoever asks to be left alone is heard all the same.
            self._messages.append(message)
            if consent.classify(item.text) is consent.Consent.STOP:
                self._apply(event, conversation, (OptOut(),))
            if stale:
                return "Stale"
            self._extend_window(conversation, expires)
            return "HumanOwnsConversation" if conversation.owner == "human" else "Standby"
        state, effects = self._turn(number, conversation, item)
        # Nothing above this line changed the batch: a turn that raises leaves no trace.
        self._messages.append(message)
        self._extend_window(conversation, expires)
        if number.mark_read and item.wamid:
            receipt = {"message_id": item.wamid, "typing": number.typing_indicator}
            self._queue(event, conversation, msgspec.json.encode(receipt).decode(), kind="read")
        self._apply(event, conversation, effects)
        conversation.state = state
        metrics.turns_total.labels(event.number_id, "done").inc()
        return None

    def _turn(
        self, number: Number, conversation: Conversation, item: inbound.InboundMessage
    ) -> tuple[dict[str, object], Sequence[Effect]]:
        wish = consent.classify(item.text)
        try:
            turn = self._turns.bots.turn(number)
        except BotUnusable:
            if wish is not consent.Consent.STOP:
                raise
            turn = None
        # A script says for itself what it answers to STOP and START. Everywhere else the words count before anyone
        # is asked.
        if wish is consent.Consent.STOP and (turn is None or number.bot is None):
            return conversation.state, (OptOut(),)
        back = (OptIn(),) if wish is consent.Consent.START and number.bot is None else ()
        if turn is None:
            return conversation.state, back
        occasion = BotEvent(
            type=item.type,
            text=item.text,
            button_id=item.button_id,
            profile_name=item.profile_name or conversation.profile_name,
            wamid=item.wamid,
            occurred_at=item.occurred_at,
            now=self._turns.clock(),
        )
        with metrics.turn_seconds.time(), self._turns.deadline():
            state, effects = turn(conversation.state, occasion)
        return state, (*back, *effects)

    def _apply(self, event: WaitingEvent, conversation: Conversation, effects: Sequence[Effect]) -> None:
        may_speak = not conversation.opted_out
        # What a turn says before it hands the conversation over was still said by the bot.
        handing_over = any(isinstance(effect, HandOff) for effect in effects)
        for effect in effects:
            match effect:
                case Reply(message):
                    self._say(event, conversation, message, notice=handing_over and may_speak)
                case OptOut(confirmation):
                    conversation.opted_out = True
                    self._consents.append((conversation.contact_id, True))
                    self._say(event, conversation, confirmation, notice=may_speak)
                case OptIn(confirmation):
                    conversation.opted_out = False
                    self._consents.append((conversation.contact_id, False))
                    self._say(event, conversation, confirmation)
                case HandOff(minutes, reply):
                    self._say(event, conversation, reply, notice=may_speak)
                    now = datetime.fromtimestamp(self._turns.clock(), UTC)
                    conversation.owner = "human"
                    conversation.owner_until = None if minutes is None else now + timedelta(minutes=minutes)

    def _say(
        self, event: WaitingEvent, conversation: Conversation, message: OutgoingMessage | None, *, notice: bool = False
    ) -> None:
        if message is not None:
            body = msgspec.json.encode(message.payload()).decode()
            self._queue(event, conversation, body, notice=notice)

    def _queue(
        self, event: WaitingEvent, conversation: Conversation, body: str, *, kind: str = "message", notice: bool = False
    ) -> None:
        self._outgoing.append(
            turns.Outgoing(
                number_id=event.number_id,
                conversation_id=conversation.id,
                body=body,
                kind=kind,
                notice=notice,
                event_id=event.id,
                traceparent=tracing.current_traceparent(),
            )
        )

    def _extend_window(self, conversation: Conversation, expires: datetime) -> None:
        if conversation.window_expires_at is None or conversation.window_expires_at < expires:
            conversation.window_expires_at = expires
        self._changed[conversation.id] = conversation

    def store(self, connection: Connection) -> None:
        """Write everything; see `waypost.lanes.drain.Batch`."""
        conversations.write(
            connection,
            [(changed, msgspec.json.encode(changed.state).decode()) for changed in self._changed.values()],
        )
        turns.add_messages(connection, self._messages)
        turns.add_outgoing(connection, self._outgoing)
        for contact_id, opted_out in self._consents:
            conversations.set_consent(connection, contact_id, opted_out=opted_out, source="keyword")
        for contact_id, identity in self._moved:
            conversations.move(connection, contact_id, wa_id=identity.wa_id, user_id=identity.user_id)
        for contact_id, stopped in self._marketing:
            conversations.set_marketing(connection, contact_id, stopped=stopped)
        if self._statuses:
            applied = settle.settle(connection, [status for _, status in self._statuses])
            self._settled = set(applied.settled)
            for (event, status), sent in zip(self._statuses, applied.traceparents, strict=True):
                _trace_status(event, status, sent)

    def committed(self) -> None:
        """Wake the sender for what was queued; see `waypost.lanes.drain.Batch`."""
        woken = self._settled | {row.conversation_id for row in self._outgoing}
        if woken:
            self._turns.wake_sender(woken)
        incoming = Counter(message.number_id for message in self._messages if message.direction == "in")
        if incoming:
            self._turns.charge(incoming)
        now = time.time()
        for received in self._received:
            metrics.ack_to_done_seconds.observe(max(now - received, 0.0))


def _attributes(event: WaitingEvent) -> dict[str, str | int]:
    return {
        "messaging.system": "waypost",
        "messaging.operation.type": "process",
        "waypost.event_id": event.id,
        "waypost.number_id": event.number_id,
        "waypost.kind": event.kind,
        "waypost.lane": event.lane,
        "waypost.attempt": event.attempts + 1,
    }


def _trace_status(event: WaitingEvent, status: inbound.InboundStatus, sent: str | None) -> None:
    """A span for a status: child of the delivery that brought it, linked to the send that it is about."""
    link = tracing.link_to(sent)
    span = tracing.tracer().start_span(
        "process status",
        context=tracing.context_from(event.traceparent),
        kind=SpanKind.CONSUMER,
        links=[link] if link else [],
    )
    if span.is_recording():
        span.set_attributes({**_attributes(event), "waypost.status": status.status})
    span.end()
