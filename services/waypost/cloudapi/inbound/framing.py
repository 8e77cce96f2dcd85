"""Turns one change of a delivery into events.

Each item gets a frame of its own in Meta's shape, and keeps its original bytes. The frame holds what an item
needs to be understood on its own: the metadata of its number, its contact, and unknown members of the value.
"""

from typing import Final, cast

import msgspec

from waypost.cloudapi.inbound import item_keys
from waypost.cloudapi.inbound.damaged_json import Fields, Items
from waypost.cloudapi.inbound.event import Event, EventKind, Problem
from waypost.cloudapi.inbound.fields import CONTEXT, ITEM_KINDS, WHOLE_VALUE_KINDS, ItemList, WebhookField
from waypost.cloudapi.inbound.item_keys import ItemKeys
from waypost.cloudapi.inbound.lenient_json import DECODE_ERRORS, Buffer, is_json

STANDBY: Final = str(WebhookField.STANDBY)
"""The name of a field, and also of a member in values of the field messages.

Both hold items of conversations that another handler owns.
"""

_CONTEXT_LIMIT: Final = 8192
"""The most bytes of metadata, of a contact or of unknown members that are copied beside every item of a batch.

Larger parts are not copied: they could turn one delivery of 3 MB into gigabytes.
"""

_MOST_CONTACTS: Final = 5_000
"""The most contacts of one value. Meta sends at most one for each of at most 1,000 messages."""


class TooManyEvents(Exception):
    """Raised when a delivery would become more events, or more bytes, than a delivery may. Do not retry."""


class Budget:
    """The number of events, and of bytes of their payloads, that one delivery may still become."""

    __slots__ = ("_bytes", "_events")

    def __init__(self, events: int, size: int) -> None:
        self._events = events
        self._bytes = size

    def check(self, events: int) -> None:
        """Raises `TooManyEvents` if there is no room for so many more events. Call it before they are decoded."""
        if events > self._events:
            raise TooManyEvents

    def spend(self, payload: bytes) -> bytes:
        """Returns the payload of one more event. Raises `TooManyEvents`."""
        self._events -= 1
        self._bytes -= len(payload)
        if self._events < 0 or self._bytes < 0:
            raise TooManyEvents
        return payload


class ChangeContext:
    """One change of a delivery, with the data that its events share.

    `suspect` means that the document around the change is damaged. Each piece must then be checked before it is
    framed.
    """

    __slots__ = ("budget", "default_number", "field", "suspect", "time", "waba_id")

    def __init__(
        self, field: str, waba_id: object, time: object, default_number: str, budget: Budget, *, suspect: bool
    ) -> None:
        self.field = field
        self.waba_id = item_keys.usable_key(str(waba_id)) if waba_id else ""
        self.time = item_keys.seconds(time)
        self.default_number = default_number
        self.budget = budget
        self.suspect = suspect


class _Metadata(msgspec.Struct, gc=False):
    phone_number_id: str | int | None = None


class _ValueWithMetadata(msgspec.Struct, gc=False):
    metadata: _Metadata


_metadata = msgspec.json.Decoder(_Metadata).decode
_value_with_metadata = msgspec.json.Decoder(_ValueWithMetadata).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_MESSAGES: Final = str(ItemList.MESSAGES)
_ERRORS: Final = str(ItemList.ERRORS)
_CONTACTS: Final = str(ItemList.CONTACTS)
_MESSAGES_FIELD: Final = str(WebhookField.MESSAGES)

FRAME_OPENINGS = {
    field: b'{"field":"%s","value":{"messaging_product":"whatsapp"' % field.encode() for field in ITEM_KINDS
}
LIST_OPENINGS = {str(name): b',"%s":[' % name.encode() for name in ItemList}
CONTACT_FRAME = b',"contacts":[%s]'
FRAME_END = b"]}}"

RawMembers = dict[str, Buffer | Fields | Items]
Lists = list[tuple[str, EventKind, list[Buffer]]]


def events_of(context: ChangeContext, value: Buffer | Fields | Items) -> list[Event]:
    """Returns the events of one change.

    There is one event for each item of a known list, and one for each unknown list. A value without lists is a
    single event. Raises `TooManyEvents`.
    """
    if context.field not in ITEM_KINDS:
        return [_whole_value_event(context, _raw(value))] if _raw(value) else []
    try:
        members = _decode_members(value)
    except DECODE_ERRORS:
        return [_whole_value_event(context, _raw(value))] if _raw(value) else []
    standby = members.get(STANDBY)
    if standby is None or not (isinstance(standby, Fields) or bytes(_raw(standby)).startswith(b"{")):
        return _events_of_members(context, members, value)
    # A value may hold our own items and, in its member standby, those of another handler: frame both, separately.
    del members[STANDBY]
    observed = {name: member for name, member in members.items() if name in CONTEXT} | _decode_members(standby)
    events = (
        _events_of_members(context, members, value) if members.keys() - CONTEXT and context.field != STANDBY else []
    )
    context.field = STANDBY
    return events + _events_of_members(context, observed, value)


def _events_of_members(context: ChangeContext, members: RawMembers, value: Buffer | Fields | Items) -> list[Event]:
    kinds = ITEM_KINDS[context.field]
    lists: Lists = []
    unknown: dict[str, Buffer] = {}
    for name, member in members.items():
        kind = kinds.get(name)
        if kind is not None:
            lists.append((name, kind, _list_items(member)))
        elif name not in CONTEXT:
            unknown[name] = _raw(member)
    number_id, metadata = _metadata_of(context, members)
    opening = FRAME_OPENINGS[context.field] + metadata
    extra = b""
    if len(lists) > 1 and context.field == _MESSAGES_FIELD:
        lists, extra = _attach_errors(lists)
    separate = []
    for name, raw in unknown.items():
        too_long = len(extra) + len(raw) > _CONTEXT_LIMIT
        if too_long or bytes(raw).startswith(b"[") or (context.suspect and not is_json(raw)):
            separate.append(_unknown_list_event(context, opening, number_id, name, raw))
        else:
            extra += b",%s:%s" % (_encode(name), bytes(raw))
    events = _framed(context, number_id, opening + extra, members, lists) + separate
    if extra and not events and _raw(value):
        events.append(_whole_value_event(context, _raw(value)))
    return events


def _framed(context: ChangeContext, number_id: str, opening: bytes, members: RawMembers, lists: Lists) -> list[Event]:
    count = sum([len(items) for _, _, items in lists])
    context.budget.check(count)
    contacts = _Contacts(context, members, single_item=count == 1)
    spend = context.budget.spend
    events = []
    for name, kind, items in lists:
        list_opening = LIST_OPENINGS[name]
        # History belongs to no conversation's turn, and its wamids may also arrive with live messages.
        read = item_keys.read_other if kind is EventKind.HISTORY else item_keys.READERS.get(name, item_keys.read_other)
        needs_sender = kind is EventKind.MESSAGE
        for item in items:
            keys = None if context.suspect and not _is_utf8(item) else read(item)
            if keys is None:
                payload = spend(b"".join((opening, list_opening, item, FRAME_END)))
                key = item_keys.digest(context.field, item)
                events.append(Event(number_id, kind, key, "", 0.0, payload, Problem.INVALID_ITEM))
                continue
            contact, contact_key = contacts.find(keys)
            key = keys.item_key or item_keys.digest(context.field, item)
            problem = None if contact_key or not needs_sender else Problem.MISSING_SENDER
            payload = spend(b"".join((opening, contact, list_opening, item, FRAME_END)))
            events.append(Event(number_id, kind, key, contact_key, keys.occurred_at, payload, problem))
    return events


class _Contacts:
    """The contacts of a value. A contact is found by its ids, because Meta does not promise an order."""

    __slots__ = ("_by_id", "_only", "_single_item")

    def __init__(self, context: ChangeContext, members: RawMembers, *, single_item: bool) -> None:
        self._single_item = single_item
        self._only: tuple[bytes, ItemKeys] | None = None
        self._by_id: dict[str, tuple[bytes, ItemKeys]] = {}
        if _CONTACTS not in members:
            return
        raw_contacts = _list_items(members[_CONTACTS])
        if len(raw_contacts) > _MOST_CONTACTS:
            raise TooManyEvents
        for raw in raw_contacts:
            keys = None if context.suspect and not _is_utf8(raw) else item_keys.read_contact(raw)
            if keys is None:
                continue
            if len(raw) > _CONTEXT_LIMIT:
                raw = _encode({"wa_id": keys.phone, "user_id": keys.user_id})  # noqa: PLW2901 - the same, cut to its ids
            contact = (CONTACT_FRAME % bytes(raw), keys)
            if len(raw_contacts) == 1:
                self._only = contact
            if keys.phone:
                self._by_id[keys.phone] = contact
            if keys.user_id:
                self._by_id[keys.user_id] = contact

    def find(self, keys: ItemKeys) -> tuple[bytes, str]:
        """Returns the contact to put next to an item in its frame, and the key of the person that the item is about."""
        contact = self._by_id.get(keys.user_id) or self._by_id.get(keys.phone)
        if contact is None and self._single_item and not (keys.user_id or keys.phone):
            contact = self._only
        if contact is None:
            return b"", keys.user_id or keys.phone
        return contact[0], keys.user_id or contact[1].user_id or keys.phone or contact[1].phone


def _whole_value_event(context: ChangeContext, value: Buffer) -> Event:
    """Returns one event for a whole value.

    Either the field of the value has no lists, or the value does not have the shape that its field requires.
    """
    problem = None
    has_lists = context.field in ITEM_KINDS
    if (context.suspect and not is_json(value)) or (has_lists and not bytes(value).startswith(b"{")):
        problem = Problem.INVALID_ITEM
    kind = EventKind.STANDBY if context.field == STANDBY else WHOLE_VALUE_KINDS.get(context.field, EventKind.UNKNOWN)
    frame = b'{"field":%s,"waba_id":%s,"time":%d,"value":' % (
        _encode(context.field),
        _encode(context.waba_id),
        context.time,
    )
    # The time is part of the key: a number that is flagged, cleared and flagged again was flagged twice.
    key = item_keys.digest(context.field, value, str(context.time))
    payload = context.budget.spend(b"".join((frame, value, b"}")))
    return Event(_number_of_value(context, value), kind, key, "", context.time, payload, problem)


def _unknown_list_event(context: ChangeContext, opening: bytes, number_id: str, name: str, value: Buffer) -> Event:
    """Returns one event for a whole list whose name is not known for this field."""
    problem = Problem.INVALID_ITEM if context.suspect and not is_json(value) else None
    payload = context.budget.spend(b"".join((opening, b",", _encode(name), b":", value, b"}}")))
    return Event(number_id, EventKind.UNKNOWN, item_keys.digest(context.field, value, name), "", 0.0, payload, problem)


def _number_of_value(context: ChangeContext, value: Buffer) -> str:
    try:
        number_id = item_keys.usable_key(str(_value_with_metadata(value).metadata.phone_number_id or ""))
    except DECODE_ERRORS:
        number_id = ""
    return number_id or (f"waba:{context.waba_id}" if context.waba_id else context.default_number)


def _metadata_of(context: ChangeContext, members: RawMembers) -> tuple[str, bytes]:
    """Returns the id of the number that the items belong to, and the member `metadata` to put next to each item."""
    raw = _raw(members.get("metadata", b""))
    if not raw or (context.suspect and not is_json(raw)):
        return context.default_number, b""
    return metadata_of(raw, context.default_number)


def metadata_of(raw: Buffer, default_number: str) -> tuple[str, bytes]:
    """Returns the number id in `raw`, and the member `metadata` to put next to an item in its frame."""
    try:
        number_id = item_keys.usable_key(str(_metadata(raw).phone_number_id or ""))
    except DECODE_ERRORS:
        number_id = ""
    if len(raw) > _CONTEXT_LIMIT:
        return number_id or default_number, b',"metadata":{"phone_number_id":%s}' % _encode(number_id)
    return number_id or default_number, b',"metadata":%s' % bytes(raw)


def _attach_errors(lists: Lists) -> tuple[Lists, bytes]:
    """Attaches a value's errors to its only message.

    Meta reports an error in this way when it sends an interactive message without a body. If the value has
    several messages, each error stays an event of its own.
    """
    by_name = {name: items for name, _, items in lists}
    errors = by_name.pop(_ERRORS, [])
    if not errors or len(by_name.pop(_MESSAGES, [])) != 1 or any(by_name.values()):
        return lists, b""
    return [row for row in lists if row[0] != _ERRORS], b',"errors":[%s]' % b",".join(errors)


def _decode_members(value: Buffer | Fields | Items) -> RawMembers:
    if isinstance(value, dict):
        return dict(value)
    return cast(RawMembers, _members(_raw(value)))


def _list_items(member: Buffer | Fields | Items) -> list[Buffer]:
    """Returns the items of a list.

    A value that is not a list counts as a list with one item. Null counts as an empty list.
    """
    if isinstance(member, list):
        return [_raw(item) for item in member]
    raw = _raw(member)
    try:
        return cast("list[Buffer]", _elements(raw))
    except DECODE_ERRORS:
        return [] if bytes(raw) == b"null" else [raw]


def _raw(piece: Buffer | Fields | Items) -> Buffer:
    return piece.raw if isinstance(piece, Fields | Items) else piece


def _is_utf8(raw: Buffer) -> bool:
    try:
        bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return True
