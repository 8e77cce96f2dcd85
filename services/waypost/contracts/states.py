"""States and reasons that several processes write to the database and read from it.

The members are strings. SQL, JSON and logs show their values, and a column's CHECK constraint lists the same
values.
"""

from enum import IntEnum, StrEnum


class EventState(StrEnum):
    """States of an event in the inbox."""

    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"
    """The event was given up. A person decides what happens next: `waypost dead replay` or `waypost dead drop`."""


class EventReason(StrEnum):
    """Reasons in the rows of events in the inbox.

    A row may have the class of an exception or a problem of the payload as its reason instead. The first three
    reasons belong to events that wait, died or were dropped. The others belong to events that are done without
    any effect.
    """

    NUMBER_MISSING = "NumberMissing"
    """The registry of the workers does not contain the number."""
    WORKER_CRASHED = "WorkerCrashed"
    """Every process that handled the event died before it had finished."""

    DROPPED = "Dropped"
    """A person gave the event up with `waypost dead drop`."""

    RECORDED = "Recorded"
    """Nothing follows from events of this kind."""
    NO_CONTACT = "NoContact"
    """The event names no person."""
    GROUP = "Group"
    """The message was written in a group."""
    STALE = "Stale"
    """The message is older than the customer service window, or the event is older than what Meta redelivers."""
    HUMAN_OWNS_CONVERSATION = "HumanOwnsConversation"
    STANDBY = "Standby"
    """Another app answers this conversation."""


class OutboxState(StrEnum):
    """States of an outbox row: `queued → sending → sent | failed | unknown`."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The message may have reached Meta. A status webhook settles the row; the message is never sent again."""


class OutboxKind(StrEnum):
    """Kinds of Graph calls that an outbox row can ask for."""

    MESSAGE = "message"
    READ = "read"
    """Marks the contact's message as read."""


class Priority(IntEnum):
    """Priorities of outbox rows. Rows with a lower number are sent first."""

    REPLY = 0
    BULK = 1
    """Messages of campaigns and schedules. They count as marketing."""


class SendReason(StrEnum):
    """Reasons in outbox rows. A row may have the title of one of Meta's error codes as its reason instead."""

    OPTED_OUT = "OptedOut"
    MARKETING_STOPPED = "MarketingStopped"
    OUTSIDE_WINDOW = "OutsideWindow"
    """The customer service window is closed, and the row is not a template."""
    HUMAN_OWNS_CONVERSATION = "HumanOwnsConversation"
    STANDBY = "Standby"
    """Another app answers this conversation."""
    NO_RECIPIENT = "NoRecipient"
    """The contact has neither a phone number nor a BSUID any more."""
    INVALID_MESSAGE = "InvalidMessage"
    """The body is not a message that the Graph API takes."""
    INTERRUPTED = "Interrupted"
    """The process ended during the call."""
    CLAIM_EXPIRED = "ClaimExpired"
    """The process that made the call died."""
    FAILED_AT_META = "FailedAtMeta"
    """Meta accepted the message and later reported that it failed."""


class Direction(StrEnum):
    """Directions of a message from the number's point of view."""

    IN = "in"
    OUT = "out"


class MessageStatus(StrEnum):
    """Statuses that Meta reports for a message after it was sent."""

    SENT = "sent"
    FAILED = "failed"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"


class ConversationOwner(StrEnum):
    """Parties that may answer a conversation."""

    BOT = "bot"
    HUMAN = "human"
    STANDBY = "standby"
    """Another app of the same account may answer."""


class OptOutSource(StrEnum):
    """Ways in which a contact opted out."""

    KEYWORD = "keyword"


class DailyCount(StrEnum):
    """Names of the daily counts of events (`daily_metric.name`)."""

    RECEIVED = "received"
    DUPLICATE = "duplicate"
    DONE = "done"
