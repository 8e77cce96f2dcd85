"""Handles one event that is not a status. Asks the bot, and collects the changes that the event makes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from waypost.bot import consent
from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi.inbound import records
from waypost.cloudapi.messages import Outgoing as OutgoingMessage
from waypost.cloudapi.messages import Text
from waypost.contracts.registry import Number, OnError
from waypost.contracts.states import ConversationOwner, Direction, EventReason, OutboxKind
from waypost.lanes.handler import NotServedHere, Unhandled
from waypost.store import turns
from waypost.store.claims import WaitingEvent
from waypost.store.conversations import Conversation
from waypost.telemetry import metrics, tracing
from waypost.worker.bots import BotSource, BotUnusable
from waypost.worker.changes import Changes
from waypost.worker.scripts import ScriptNotReady

WINDOW: Final = timedelta(hours=24)
"""The customer service window: free-form replies within 24 h of the contact's last message (Meta, Service messages)."""

HUMAN_TAKES_OVER: Final = timedelta(minutes=30)
"""After a person writes a message in the WhatsApp Business app, the bot is silent for this time."""

REDELIVERY: Final = timedelta(days=8)
"""Meta redelivers for 7 days, and the inbox knows every event of the last 8. An older one that is new is a replay."""

REGISTRY_LAG: Final = timedelta(minutes=15)
"""Time for which a number may be missing here although the webhook has it: kubelets update each pod's Secret later."""


class Dependencies(Protocol):
    """The parts of the process that are needed to handle an event."""

    numbers: Callable[[str], Number | None]
    bots: BotSource
    deadline: Callable[[], AbstractContextManager[None]]
    clock: Callable[[], float]


class EventHandling:
    """Handles one event on a copy of the conversation, so that a failed event has no effect.

    After `handle`, `changes` has all effects of the event.
    """

    def __init__(self, dependencies: Dependencies, event: WaitingEvent, conversation: Conversation | None) -> None:
        self._dependencies = dependencies
        self._event = event
        self._conversation = None if conversation is None else replace(conversation)
        self.changes = Changes()

    def handle(self, item: records.Inbound) -> EventReason | None:
        """Computes the changes of the event. Returns None, or the reason why the event has no effect.

        Raises `NotServedHere`, `Unhandled`, `BotUnusable`, `TurnTimeout`, and every error that a bot's code raises.
        """
        conversation = self._conversation
        match item:
            case records.InboundMessage():
                return self._message(item)
            case records.Echo() | records.Standby() | records.Preference() | records.Call() if self._is_replayed():
                return EventReason.STALE
            case records.Echo():
                self._take_over(conversation, ConversationOwner.HUMAN, HUMAN_TAKES_OVER)
                return None
            case records.Standby():
                self._take_over(conversation, ConversationOwner.STANDBY, WINDOW)
                return None
            case records.Preference():
                if conversation is None:
                    return EventReason.NO_CONTACT
                self.changes.marketing.append((conversation.contact_id, item.value == "stop"))
                return None
            case records.Call():
                if conversation is None or item.direction == "BUSINESS_INITIATED":
                    return EventReason.RECORDED
                self._extend_window(conversation)
                return None
            case _:
                return EventReason.RECORDED

    def _message(self, item: records.InboundMessage) -> EventReason | None:
        number = self._dependencies.numbers(self._event.number_id)
        if number is None:
            waited_s = self._dependencies.clock() - self._event.received_at.timestamp()
            if waited_s < REGISTRY_LAG.total_seconds():
                raise NotServedHere
            raise Unhandled(EventReason.NUMBER_MISSING)
        if not self._dependencies.bots.serves(number):
            raise NotServedHere
        if item.group_id is not None:
            return EventReason.GROUP
        conversation = self._conversation
        if conversation is None:
            return EventReason.NO_CONTACT
        if item.type == "system":
            if item.changed_to is None:
                return EventReason.RECORDED
            if self._is_replayed():
                return EventReason.STALE
            self.changes.moved.append((conversation.contact_id, item.changed_to))
            return None
        self._record(item, conversation)
        if (reason := self._unanswered(conversation)) is not None:
            # The bot does not answer, but an opt-out counts all the same.
            if consent.classify(item.text) is consent.Consent.STOP and not self._is_replayed():
                self._apply(conversation, (OptOut(),))
            return reason
        self._extend_window(conversation)
        state, effects = self._turn(number, conversation, item)
        if number.mark_read and item.wamid:
            receipt = {"message_id": item.wamid, "typing": number.typing_indicator}
            self._queue(conversation, msgspec.json.encode(receipt).decode(), kind=OutboxKind.READ)
        self._apply(conversation, effects)
        conversation.state = state
        metrics.turns_total.labels(self._event.number_id, "done").inc()
        return None

    def give_up(self, item: records.Inbound) -> None:
        """Records a message whose last attempt failed, so that people see it in the conversation's history.

        The contact gets what the number's `on_error` says, unless the bot would not have answered the message.
        """
        conversation = self._conversation
        if not isinstance(item, records.InboundMessage) or conversation is None or item.type == "system":
            return
        self._record(item, conversation)
        is_answered = self._unanswered(conversation) is None
        self._extend_window(conversation)
        if consent.classify(item.text) is consent.Consent.STOP:
            # The script that failed would have recorded it.
            self._apply(conversation, (OptOut(),))
        elif is_answered and (number := self._dependencies.numbers(self._event.number_id)) is not None:
            self._apply(conversation, _apology(number.on_error))

    def _record(self, item: records.InboundMessage, conversation: Conversation) -> None:
        self.changes.messages.append(
            turns.Incoming(
                number_id=self._event.number_id,
                conversation_id=conversation.id,
                direction=Direction.IN,
                wamid=item.wamid or None,
                type=item.type,
                body=item.text,
                occurred_at=self._event.occurred_at,
                traceparent=self._event.traceparent,
            )
        )

    def _is_replayed(self) -> bool:
        """Returns whether the event was so old when it arrived that the inbox may have forgotten an earlier delivery.

        The time since its arrival does not count: an event that was dead for weeks is new when it is replayed.
        """
        return self._event.occurred_at + REDELIVERY < self._event.received_at

    def _unanswered(self, conversation: Conversation) -> EventReason | None:
        """Returns why the bot is not called for a message, or None if the bot is called.

        The message also opens the service window if a person answers it instead of the bot.
        """
        if self._event.occurred_at + WINDOW < self._now():
            return EventReason.STALE
        if conversation.owner == ConversationOwner.BOT:
            return None
        self._extend_window(conversation)
        if conversation.owner == ConversationOwner.HUMAN:
            return EventReason.HUMAN_OWNS_CONVERSATION
        return EventReason.STANDBY

    def _turn(
        self, number: Number, conversation: Conversation, item: records.InboundMessage
    ) -> tuple[dict[str, Any], Sequence[Effect]]:
        keyword = consent.classify(item.text)
        try:
            turn = self._dependencies.bots.turn(number)
        except ScriptNotReady:
            raise NotServedHere from None
        except BotUnusable:
            if keyword is not consent.Consent.STOP:
                raise
            turn = None
        # A script itself defines its answers to STOP and START. For a plugin, or without a bot, the keywords count
        # before any bot is asked.
        if keyword is consent.Consent.STOP and (turn is None or number.bot is None):
            return conversation.state, (OptOut(),)
        opt_in = (OptIn(),) if keyword is consent.Consent.START and number.bot is None else ()
        if turn is None:
            return conversation.state, opt_in
        bot_event = BotEvent(
            type=item.type,
            text=item.text,
            button_id=item.button_id,
            profile_name=item.profile_name or conversation.profile_name,
            wamid=item.wamid,
            occurred_at=item.occurred_at,
            now=self._dependencies.clock(),
        )
        # The bot gets a copy: if it changes the state and then fails, an earlier event of the batch must not store it.
        state = msgspec.json.decode(msgspec.json.encode(conversation.state), type=dict[str, Any])
        with metrics.turn_seconds.time(), self._dependencies.deadline():
            state, effects = turn(state, bot_event)
        return state, (*opt_in, *effects)

    def _apply(self, conversation: Conversation, effects: Sequence[Effect]) -> None:
        may_speak = not conversation.opted_out
        # Replies of a turn that hands the conversation over are the bot's last words, so they pass the gate as notices.
        handing_over = any(isinstance(effect, HandOff) for effect in effects)
        for effect in effects:
            match effect:
                case Reply(message):
                    self._say(conversation, message, notice=handing_over and may_speak)
                case OptOut(confirmation):
                    if not conversation.opted_out:
                        self.changes.silenced.add(conversation.id)
                    conversation.opted_out = True
                    self.changes.conversations[conversation.id] = conversation
                    self.changes.consents.append((conversation.contact_id, True))
                    self._say(conversation, confirmation, notice=may_speak)
                case OptIn(confirmation):
                    conversation.opted_out = False
                    self.changes.conversations[conversation.id] = conversation
                    self.changes.consents.append((conversation.contact_id, False))
                    self._say(conversation, confirmation)
                case HandOff(minutes, reply):
                    self._say(conversation, reply, notice=may_speak)
                    conversation.owner = ConversationOwner.HUMAN
                    conversation.owner_until = None if minutes is None else self._now() + timedelta(minutes=minutes)

    def _say(self, conversation: Conversation, message: OutgoingMessage | None, *, notice: bool = False) -> None:
        if message is not None:
            self._queue(conversation, msgspec.json.encode(message.payload()).decode(), notice=notice)

    def _queue(
        self, conversation: Conversation, body: str, *, kind: OutboxKind = OutboxKind.MESSAGE, notice: bool = False
    ) -> None:
        self.changes.outgoing.append(
            turns.Outgoing(
                conversation_id=conversation.id,
                body=body,
                kind=kind,
                notice=notice,
                event_id=self._event.id,
                traceparent=tracing.current_traceparent(),
            )
        )

    def _take_over(self, conversation: Conversation | None, owner: ConversationOwner, duration: timedelta) -> None:
        if conversation is None:
            return
        until: datetime | None = self._now() + duration
        if conversation.owner != ConversationOwner.BOT:
            # A hand-off may last longer, or without end (None); another message of the person must not shorten it.
            current = conversation.owner_until
            until = None if current is None else max(self._now() + duration, current)
        conversation.owner, conversation.owner_until = owner, until
        self.changes.conversations[conversation.id] = conversation

    def _extend_window(self, conversation: Conversation) -> None:
        expires = self._event.occurred_at + WINDOW
        if conversation.window_expires_at is None or conversation.window_expires_at < expires:
            conversation.window_expires_at = expires
        self.changes.conversations[conversation.id] = conversation

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._dependencies.clock(), UTC)


def _apology(on_error: OnError | None) -> tuple[Effect, ...]:
    """Returns the reply to a contact whose message was given up."""
    if on_error is None:
        return ()
    reply = None if on_error.reply is None else Text(on_error.reply)
    if on_error.hand_off:
        return (HandOff(on_error.hand_off_minutes, reply),)
    return () if reply is None else (Reply(reply),)
