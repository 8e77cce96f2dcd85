"""One event that is no status: who it is about, what the bot says to it, and what it changes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from waypost.bot import consent
from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi.inbound import records
from waypost.cloudapi.messages import Outgoing as OutgoingMessage
from waypost.contracts.registry import Number
from waypost.lanes.drain import Postponed
from waypost.store import turns
from waypost.store.conversations import Conversation
from waypost.store.lanes import WaitingEvent
from waypost.telemetry import metrics, tracing
from waypost.worker.bots import Bots, BotUnusable
from waypost.worker.changes import Changes
from waypost.worker.deadline import Deadline

WINDOW: Final = timedelta(hours=24)
"""The customer service window: free-form replies within 24 h of the contact's last message (Meta, Service messages)."""

HUMAN_TAKES_OVER: Final = timedelta(minutes=30)
"""After a message typed by a person in the WhatsApp Business app the bot is silent this long."""


REGISTRY_LAG: Final = timedelta(minutes=15)
"""The webhook may know a number before this worker does: kubelets bring a Secret to each pod in their own time."""


class NumberMissing(Exception):
    """The registry does not name this number, and should by now. Replay its events once it does."""


class Surroundings(Protocol):
    """What an occasion needs to know of the process."""

    numbers: Callable[[str], Number | None]
    bots: Bots
    deadline: Deadline
    clock: Callable[[], float]


class Occasion:
    """Works on a copy of the conversation and gathers into `changes`: an event that fails leaves no trace."""

    def __init__(self, around: Surroundings, event: WaitingEvent, conversation: Conversation | None) -> None:
        self._around = around
        self._event = event
        self._conversation = None if conversation is None else replace(conversation)
        self.changes = Changes()

    def take(self, item: records.Inbound) -> str | None:
        """Work out the changes; returns why there are none, or None.

        Raises `Postponed`, `NumberMissing`, `BotUnusable`, `TurnTimeout`, and whatever a bot's code raises.
        """
        conversation = self._conversation
        match item:
            case records.InboundMessage():
                return self._message(item)
            case records.Echo():
                self._take_over(conversation, "human", HUMAN_TAKES_OVER)
                return None
            case records.Standby():
                self._take_over(conversation, "standby", WINDOW)
                return None
            case records.Preference():
                if conversation is None:
                    return "NoContact"
                self.changes.marketing.append((conversation.contact_id, item.value == "stop"))
                return None
            case records.Call():
                if conversation is None or item.direction == "BUSINESS_INITIATED":
                    return "Recorded"
                self._extend_window(conversation)
                return None
            case _:
                return "Recorded"

    def _message(self, item: records.InboundMessage) -> str | None:
        number = self._around.numbers(self._event.number_id)
        if number is None:
            waited_s = self._around.clock() - self._event.received_at.timestamp()
            if waited_s < REGISTRY_LAG.total_seconds():
                raise Postponed("NumberMissing")
            raise NumberMissing(self._event.number_id)
        if item.group_id is not None:
            return "Group"
        conversation = self._conversation
        if conversation is None:
            return "NoContact"
        if item.type == "system":
            if item.changed_to is None:
                return "Recorded"
            self.changes.moved.append((conversation.contact_id, item.changed_to))
            return None
        self.changes.messages.append(
            turns.Incoming(
                number_id=self._event.number_id,
                conversation_id=conversation.id,
                direction="in",
                wamid=item.wamid or None,
                type=item.type,
                body=item.text,
                occurred_at=self._event.occurred_at,
                traceparent=self._event.traceparent,
            )
        )
        if (reason := self._unanswered(conversation)) is not None:
            # Nobody answers, but whoever asks to be left alone is heard all the same.
            if consent.classify(item.text) is consent.Consent.STOP:
                self._apply(conversation, (OptOut(),))
            return reason
        self._extend_window(conversation)
        state, effects = self._turn(number, conversation, item)
        if number.mark_read and item.wamid:
            receipt = {"message_id": item.wamid, "typing": number.typing_indicator}
            self._queue(conversation, msgspec.json.encode(receipt).decode(), kind="read")
        self._apply(conversation, effects)
        conversation.state = state
        metrics.turns_total.labels(self._event.number_id, "done").inc()
        return None

    def _unanswered(self, conversation: Conversation) -> str | None:
        """Why the bot is not asked, or None. A message that somebody else answers opens the window all the same."""
        if self._event.occurred_at + WINDOW < self._now():
            return "Stale"
        if conversation.owner == "bot":
            return None
        self._extend_window(conversation)
        return "HumanOwnsConversation" if conversation.owner == "human" else "Standby"

    def _turn(
        self, number: Number, conversation: Conversation, item: records.InboundMessage
    ) -> tuple[dict[str, Any], Sequence[Effect]]:
        wish = consent.classify(item.text)
        try:
            turn = self._around.bots.turn(number)
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
            now=self._around.clock(),
        )
        # The bot's own copy: what it does to it before it fails must not be stored with an earlier event of the batch.
        state = msgspec.json.decode(msgspec.json.encode(conversation.state), type=dict[str, Any])
        with metrics.turn_seconds.time(), self._around.deadline():
            state, effects = turn(state, occasion)
        return state, (*back, *effects)

    def _apply(self, conversation: Conversation, effects: Sequence[Effect]) -> None:
        may_speak = not conversation.opted_out
        # What a turn says before it hands the conversation over was still said by the bot.
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
                    conversation.owner = "human"
                    conversation.owner_until = None if minutes is None else self._now() + timedelta(minutes=minutes)

    def _say(self, conversation: Conversation, message: OutgoingMessage | None, *, notice: bool = False) -> None:
        if message is not None:
            self._queue(conversation, msgspec.json.encode(message.payload()).decode(), notice=notice)

    def _queue(self, conversation: Conversation, body: str, *, kind: str = "message", notice: bool = False) -> None:
        self.changes.outgoing.append(
            turns.Outgoing(
                number_id=self._event.number_id,
                conversation_id=conversation.id,
                body=body,
                kind=kind,
                notice=notice,
                event_id=self._event.id,
                traceparent=tracing.current_traceparent(),
            )
        )

    def _take_over(self, conversation: Conversation | None, owner: str, duration: timedelta) -> None:
        if conversation is None:
            return
        until: datetime | None = self._now() + duration
        if conversation.owner != "bot":
            # Whoever has it may keep it for longer, or until told; a sign of life must not cut that short.
            kept = conversation.owner_until
            until = None if kept is None else max(self._now() + duration, kept)
        conversation.owner, conversation.owner_until = owner, until
        self.changes.conversations[conversation.id] = conversation

    def _extend_window(self, conversation: Conversation) -> None:
        expires = self._event.occurred_at + WINDOW
        if conversation.window_expires_at is None or conversation.window_expires_at < expires:
            conversation.window_expires_at = expires
        self.changes.conversations[conversation.id] = conversation

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._around.clock(), UTC)
