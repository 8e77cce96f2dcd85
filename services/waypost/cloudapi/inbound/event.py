"""Defines the event. Each delivery of Meta's is split into events, which the inbox stores."""

import enum

import msgspec


class EventKind(enum.StrEnum):
    """The kind of an event. The number, the kind and the key together identify an event."""

    MESSAGE = "message"
    STATUS = "status"
    ECHO = "echo"
    STANDBY = "standby"
    HISTORY = "history"
    PREFERENCE = "preference"
    ACCOUNT = "account"
    TEMPLATE = "template"
    ERROR = "error"
    CALL = "call"
    GROUP = "group"
    UNKNOWN = "unknown"
    UNPARSEABLE = "unparseable"


class Problem(enum.StrEnum):
    """Reasons why an event cannot be used. The reason is stored in the event's row."""

    INVALID_JSON = "InvalidJson"
    """The body, or the rest of it, is not JSON."""
    INVALID_ENVELOPE = "InvalidEnvelope"
    """The body is JSON without the shape of Meta's deliveries (`entry[].changes[]`)."""
    TOO_MANY_EVENTS = "TooManyEvents"
    """The delivery has more items than Meta sends at once, or they would take more memory than a delivery may."""
    INVALID_ITEM = "InvalidItem"
    """The item is not a JSON object, or not JSON at all."""
    INVALID_PAYLOAD = "InvalidPayload"
    """The stored payload does not have the frame of an event."""
    MISSING_SENDER = "MissingSender"
    """The message has no sender, so it can neither be stored in a conversation nor answered."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """A row of the inbox.

    `number_id` is the phone number id, or "waba:<id>" for account-level fields. `key` is unique within (number,
    kind). The key of a message or an echo is its wamid. The key of a status is "<wamid>:<status>" (and
    ":<participant>" in a group). The key of any other item is a digest of the item. `contact_key` is the BSUID if
    the BSUID is known, else the digits of the phone number. `contact_key` is "" if the event is not about a
    person. `occurred_at` is in unix seconds, or 0 if Meta gave no time. `payload` is JSON in Meta's shape. It has
    only this item, with the bytes that were received. `problem` (see `Problem`) says why the event cannot be
    used. It is None for an event that can be used.
    """

    number_id: str
    kind: EventKind
    key: str
    contact_key: str
    occurred_at: float
    payload: bytes
    problem: str | None = None
