"""Extracts the id, the sender and the timestamp of an item. The inbox needs them to store an event.

The rest of the item is not decoded. A key must fit an index and a text column, so it is printable ASCII of
limited length. Any other value counts as missing, and the item is identified by its digest.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from waypost.cloudapi.inbound.fields import ItemList
from waypost.cloudapi.inbound.lenient_json import DECODE_ERRORS, LARGEST_DECODED, Buffer, loads
from waypost.cloudapi.message_types import MessageType

LATEST: Final = 253402300799.0
"""The latest timestamp accepted, in unix seconds: 9999-12-31T23:59:59Z, the last second that the calendars of Python
and PostgreSQL share."""

GROUP_RECIPIENT: Final = "group"
"""The `recipient_type` of a status in a group, which names the participant separately."""

_LONGEST_ID: Final = 512
_BSUID = re.compile(r"[A-Z]{2}\.")


class ItemKeys(msgspec.Struct, gc=False):
    """The keys of an item. `item_key` is empty if the item has no id.

    `phone` has only digits. `user_id` is a BSUID.
    """

    item_key: str
    phone: str
    user_id: str
    occurred_at: float


_Text = str | None
_Timestamp = str | int | float | None


class _Message(msgspec.Struct, gc=False):
    id: _Text = None
    sender: _Text = msgspec.field(default=None, name="from")
    from_user_id: _Text = None
    timestamp: _Timestamp = None
    type: _Text = None


class _Echo(msgspec.Struct, gc=False):
    id: _Text = None
    to: _Text = None
    to_user_id: _Text = None
    recipient_user_id: _Text = None
    timestamp: _Timestamp = None


class _Status(msgspec.Struct, gc=False):
    id: _Text = None
    status: _Text = None
    timestamp: _Timestamp = None
    recipient_id: _Text = None
    recipient_user_id: _Text = None
    recipient_type: _Text = None
    recipient_participant_id: _Text = None
    recipient_participant_user_id: _Text = None


class _Person(msgspec.Struct, gc=False):
    wa_id: _Text = None
    user_id: _Text = None
    timestamp: _Timestamp = None


class _Call(msgspec.Struct, gc=False):
    sender: _Text = msgspec.field(default=None, name="from")
    from_user_id: _Text = None
    to: _Text = None
    to_user_id: _Text = None
    recipient_id: _Text = None
    recipient_user_id: _Text = None
    direction: _Text = None
    timestamp: _Timestamp = None


class _Other(msgspec.Struct, gc=False):
    timestamp: _Timestamp = None


class _System(msgspec.Struct, gc=False):
    user_id: _Text = None
    previous_user_id: _Text = None
    wa_id: _Text = None


class _SystemMessage(msgspec.Struct, gc=False):
    system: _System


def seconds(timestamp: object) -> float:
    """Returns Meta's timestamp (unix seconds, as a string or a number) as a float.

    If the time is invalid or after the year 9999, the result is 0.
    """
    if isinstance(timestamp, str):
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
            return 0.0
        seconds_since_1970 = float(timestamp)
    elif isinstance(timestamp, int | float):
        seconds_since_1970 = float(timestamp) if 0 <= timestamp <= LATEST else 0.0
    else:
        return 0.0
    return seconds_since_1970 if seconds_since_1970 <= LATEST else 0.0


def usable_key(identifier: str | None) -> str:
    """Returns `identifier` if it can be an index key, else ""."""
    if identifier and len(identifier) <= _LONGEST_ID and identifier.isascii() and identifier.isprintable():
        return identifier
    return ""


def is_user_id(identifier: str) -> bool:
    """Returns whether the text is a BSUID ("US.1349…"). Some deliveries have a BSUID in place of a phone number."""
    return _BSUID.match(identifier) is not None


def phone_and_user_id(phone: str | None, user_id: str | None) -> tuple[str, str]:
    """Returns the pair (phone digits, BSUID). A missing part is "".

    Some deliveries have the BSUID in the member for the phone number.
    """
    phone, user_id = usable_key(phone), usable_key(user_id)
    if phone and is_user_id(phone):
        return "", user_id or phone
    return phone.lstrip("+"), user_id


def digest(field: str, raw: Buffer, *more: str) -> str:
    """Returns a digest that serves as the key of an item without an id."""
    sha = hashlib.sha256(field.encode("utf-8", "replace"))
    for part in more:
        sha.update(b"\0" + part.encode("utf-8", "replace"))
    sha.update(b"\0")
    sha.update(raw)
    return sha.hexdigest()[:32]


def _message_keys(item: _Message, raw: Buffer) -> ItemKeys:
    phone, user_id = phone_and_user_id(item.sender, item.from_user_id)
    if not (phone or user_id) and item.type == MessageType.SYSTEM:
        # After a change of identity under a username, only the body names the user.
        try:
            system = msgspec.json.decode(raw, type=_SystemMessage).system
        except DECODE_ERRORS:
            system = _System()
        phone, user_id = phone_and_user_id(system.wa_id, system.previous_user_id or system.user_id)
    return ItemKeys(usable_key(item.id), phone, user_id, seconds(item.timestamp))


def _echo_keys(item: _Echo, _raw: Buffer) -> ItemKeys:
    phone, user_id = phone_and_user_id(item.to, item.to_user_id or item.recipient_user_id)
    return ItemKeys(usable_key(item.id), phone, user_id, seconds(item.timestamp))


def _status_keys(item: _Status, _raw: Buffer) -> ItemKeys:
    wamid, status = usable_key(item.id), usable_key(item.status)
    key = f"{wamid}:{status}" if wamid and status else ""
    phone, user_id = phone_and_user_id(item.recipient_id, item.recipient_user_id)
    if item.recipient_type == GROUP_RECIPIENT:
        phone, user_id = phone_and_user_id(
            item.recipient_participant_id, item.recipient_participant_user_id or item.recipient_user_id
        )
        if key and (phone or user_id):
            key = f"{key}:{user_id or phone}"
    return ItemKeys(key, phone, user_id, seconds(item.timestamp))


def _person_keys(item: _Person, _raw: Buffer) -> ItemKeys:
    phone, user_id = phone_and_user_id(item.wa_id, item.user_id)
    return ItemKeys("", phone, user_id, seconds(item.timestamp))


def _call_keys(item: _Call, _raw: Buffer) -> ItemKeys:
    if item.direction == "BUSINESS_INITIATED":
        phone, user_id = phone_and_user_id(item.to, item.to_user_id)
    else:
        phone, user_id = phone_and_user_id(
            item.sender or item.recipient_id, item.from_user_id or item.recipient_user_id
        )
    return ItemKeys("", phone, user_id, seconds(item.timestamp))


def _other_keys(item: _Other, _raw: Buffer) -> ItemKeys:
    return ItemKeys("", "", "", seconds(item.timestamp))


_Item = TypeVar("_Item")
Reader = Callable[[Buffer], "ItemKeys | None"]


def _reader(kind: type[_Item], keys_of: Callable[[_Item, Buffer], ItemKeys]) -> Reader:
    decode = msgspec.json.Decoder(kind).decode

    def read(raw: Buffer) -> ItemKeys | None:
        try:
            item = decode(raw)
        except DECODE_ERRORS:
            members = _members(raw)
            if members is None:
                return None
            item = msgspec.convert(members, kind)
        return keys_of(item, raw)

    return read


def _members(raw: Buffer) -> dict[str, Any] | None:
    """Returns the members of an item that strict decoding refused. All values except the timestamp become text.

    Returns None if the item is not an object, or too large to be decoded.
    """
    if len(raw) > LARGEST_DECODED:
        return None
    try:
        item = loads(raw)
    except DECODE_ERRORS:
        return None
    if not isinstance(item, dict):
        return None
    return {
        name: value if name == "timestamp" or isinstance(value, str) else str(value)
        for name, value in item.items()
        # The names that are looked up are ASCII. msgspec raises an error for a name with a lone surrogate.
        if name.isascii() and isinstance(value, str | int | float) and not isinstance(value, bool)
    }


READERS: dict[str, Reader] = {
    str(ItemList.MESSAGES): _reader(_Message, _message_keys),
    str(ItemList.MESSAGE_ECHOES): _reader(_Echo, _echo_keys),
    str(ItemList.STATUSES): _reader(_Status, _status_keys),
    str(ItemList.USER_PREFERENCES): _reader(_Person, _person_keys),
    str(ItemList.CALLS): _reader(_Call, _call_keys),
}
"""Maps the name of a list to the function that reads the keys of its items.

The function returns None for an unreadable item.
"""

read_contact: Reader = _reader(_Person, _person_keys)
"""Reads the keys of an item of `contacts`."""

read_other: Reader = _reader(_Other, _other_keys)
"""Reads the keys of an item of any other list. Such items have at most a timestamp."""
