"""The event: what one delivery of Meta's is split into, and what the inbox keeps."""

import enum

import msgspec


class EventKind(enum.StrEnum):
    """What an event is about. Together with number and key it is the event's identity."""

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


class Event(msgspec.Struct, frozen=True, gc=False):
    """One row of the inbox.

    `number_id` is the phone number id, or "waba:<id>" for account-level fields. `key` is unique within (number, kind):
    the wamid of a message or an echo, "<wamid>:<status>" of a status (and ":<participant>" in a group), else a digest.
    `contact_key` is the BSUID where one is known, else the phone number's digits, "" when it is about no one.
    `occurred_at` is in unix seconds, 0 when Meta gave none. `payload` is JSON in Meta's shape with this one item, the
    item's bytes as received. `problem` says why the event is dead on arrival, None for a good one.
    """

    number_id: str
    kind: EventKind
    key: str
    contact_key: str
    occurred_at: float
    payload: bytes
    problem: str | None = None
