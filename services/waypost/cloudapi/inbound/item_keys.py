"""The head of an item: who, when and which, read without the rest. What the inbox needs before an event is stored.

What is used as a key must be fit for an index and a text column: printable ASCII of bounded length. Anything else
counts as absent, and the item is then known by its digest.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from waypost.cloudapi.inbound.lenient import UNREADABLE, Buffer, loads

LATEST: Final = 253402300799.0
"""9999-12-31T23:59:59Z, the last second that Python's and PostgreSQL's calendars share."""

_LONGEST_ID: Final = 512
_BSUID = re.compile(r"[A-Z]{2}\.")


class Head(msgspec.Struct, gc=False):
    """`key` is empty where the item has no identity of its own; `phone` is digits only, `user_id` a BSUID."""

    key: str
    phone: str
    user_id: str
    occurred_at: float


Text = str | None
Moment = str | int | float | None


class _Message(msgspec.Struct, gc=False):
    id: Text = None
    sender: Text = msgspec.field(default=None, name="from")
    from_user_id: Text = None
    timestamp: Moment = None
    type: Text = None


class _Echo(msgspec.Struct, gc=False):
    id: Text = None
    to: Text = None
    to_user_id: Text = None
    recipient_user_id: Text = None
    timestamp: Moment = None


class _Status(msgspec.Struct, gc=False):
    id: Text = None
    status: Text = None
    timestamp: Moment = None
    recipient_id: Text = None
    recipient_user_id: Text = None
    recipient_type: Text = None
    recipient_participant_id: Text = None
    recipient_participant_user_id: Text = None


class _Person(msgspec.Struct, gc=False):
    wa_id: Text = None
    user_id: Text = None
    timestamp: Moment = None


class _Call(msgspec.Struct, gc=False):
    sender: Text = msgspec.field(default=None, name="from")
    from_user_id: Text = None
    to: Text = None
    to_user_id: Text = None
    recipient_id: Text = None
    recipient_user_id: Text = None
    direction: Text = None
    timestamp: Moment = None


class _Other(msgspec.Struct, gc=False):
    timestamp: Moment = None


class _System(msgspec.Struct, gc=False):
    user_id: Text = None
    previous_user_id: Text = None
    wa_id: Text = None


class _SystemMessage(msgspec.Struct, gc=False):
    system: _System


def seconds(timestamp: object) -> float:
    """Meta's timestamp (unix seconds, as a string or a number) as a float; 0 for what is none, or beyond 9999."""
    if isinstance(timestamp, str):
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            return 0.0
        moment = float(timestamp)
    elif isinstance(timestamp, int | float):
        moment = float(timestamp) if 0 <= timestamp <= LATEST else 0.0
    else:
        return 0.0
    return moment if moment <= LATEST else 0.0


def fit(identifier: str | None) -> str:
    """`identifier` if it can be an index key, else ""."""
    if identifier and len(identifier) <= _LONGEST_ID and identifier.isascii() and identifier.isprintable():
        return identifier
    return ""


def is_user_id(identifier: str) -> bool:
    """Whether this is a BSUID ("US.1349…"). Some deliveries carry one where a phone number is due."""
    return _BSUID.match(identifier) is not None


def who(phone: str | None, user_id: str | None) -> tuple[str, str]:
    """(phone digits, BSUID), each where it belongs whichever place it came in, "" where there is none."""
    phone, user_id = fit(phone), fit(user_id)
    if phone and is_user_id(phone):
        return "", user_id or phone
    return phone.lstrip("+"), user_id


def digest(field: str, raw: Buffer, *more: str) -> str:
    """The key of what has no identity of its own."""
    sha = hashlib.sha256(field.encode("utf-8", "replace"))
    for part in more:
        sha.update(b"\0" + part.encode("utf-8", "replace"))
    sha.update(b"\0")
    sha.update(raw)
    return sha.hexdigest()[:32]


def _of_message(item: _Message, raw: Buffer) -> Head:
    phone, user_id = who(item.sender, item.from_user_id)
    if not (phone or user_id) and item.type == "system":
        # A user who changed their identity under a username: the new one is told in the body alone.
        try:
            system = msgspec.json.decode(raw, type=_SystemMessage).system
        except UNREADABLE:
            system = _System()
        phone, user_id = who(system.wa_id, system.previous_user_id or system.user_id)
    return Head(fit(item.id), phone, user_id, seconds(item.timestamp))


def _of_echo(item: _Echo, _raw: Buffer) -> Head:
    phone, user_id = who(item.to, item.to_user_id or item.recipient_user_id)
    return Head(fit(item.id), phone, user_id, seconds(item.timestamp))


def _of_status(item: _Status, _raw: Buffer) -> Head:
    wamid, status = fit(item.id), fit(item.status)
    key = f"{wamid}:{status}" if wamid and status else ""
    phone, user_id = who(item.recipient_id, item.recipient_user_id)
    if item.recipient_type == "group":
        phone, user_id = who(
            item.recipient_participant_id, item.recipient_participant_user_id or item.recipient_user_id
        )
        if key and (phone or user_id):
            key = f"{key}:{user_id or phone}"
    return Head(key, phone, user_id, seconds(item.timestamp))


def _of_person(item: _Person, _raw: Buffer) -> Head:
    phone, user_id = who(item.wa_id, item.user_id)
    return Head("", phone, user_id, seconds(item.timestamp))


def _of_call(item: _Call, _raw: Buffer) -> Head:
    if item.direction == "BUSINESS_INITIATED":
        phone, user_id = who(item.to, item.to_user_id)
    else:
        phone, user_id = who(item.sender or item.recipient_id, item.from_user_id or item.recipient_user_id)
    return Head("", phone, user_id, seconds(item.timestamp))


def _of_other(item: _Other, _raw: Buffer) -> Head:
    return Head("", "", "", seconds(item.timestamp))


_Item = TypeVar("_Item")
Reader = Callable[[Buffer], "Head | None"]


def _reader(kind: type[_Item], head_of: Callable[[_Item, Buffer], Head]) -> Reader:
    decode = msgspec.json.Decoder(kind).decode

    def read(raw: Buffer) -> Head | None:
        try:
            item = decode(raw)
        except UNREADABLE:
            members = _members(raw)
            if members is None:
                return None
            item = msgspec.convert(members, kind)
        return head_of(item, raw)

    return read


def _members(raw: Buffer) -> dict[str, Any] | None:
    """The members that can be text or a number, of an item that strict decoding refused; None if it is no object."""
    try:
        item = loads(raw)
    except UNREADABLE:
        return None
    if not isinstance(item, dict):
        return None
    return {
        name: value if name == "timestamp" or isinstance(value, str) else str(value)
        for name, value in item.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


READERS: dict[str, Reader] = {
    "messages": _reader(_Message, _of_message),
    "message_echoes": _reader(_Echo, _of_echo),
    "statuses": _reader(_Status, _of_status),
    "user_preferences": _reader(_Person, _of_person),
    "contacts": _reader(_Person, _of_person),
    "calls": _reader(_Call, _of_call),
}
"""By the name of the list that holds the items. A reader gives None for an item that cannot be read."""

read_other: Reader = _reader(_Other, _of_other)
