"""One change of a delivery becomes events: each item is framed alone in Meta's shape, its bytes as they came.

A frame carries what an item needs to be understood by itself: its number's metadata, the contact that it is about,
and members of the value that are not known yet.
"""

from typing import Final, cast

import msgspec

from waypost.cloudapi.inbound import item_keys
from waypost.cloudapi.inbound.delimit import Fields, Items
from waypost.cloudapi.inbound.event import Event, EventKind
from waypost.cloudapi.inbound.fields import CONTEXT, ITEMS, WHOLE
from waypost.cloudapi.inbound.item_keys import Head
from waypost.cloudapi.inbound.lenient import UNREADABLE, Buffer, loads

INVALID_ITEM: Final = "InvalidItem"
"""The item is no JSON object, or no JSON at all."""
MISSING_SENDER: Final = "MissingSender"
"""A message that does not say whom it is from can be neither filed nor answered."""

_ROOM_FOR_CONTEXT: Final = 8192
"""Bytes of metadata, contact or unknown members that are copied beside every item of a batch. More is no context, but
a way to turn one delivery of 3 MB into gigabytes."""


class Change:
    """One change of a delivery, and what its events share.

    `suspect`: the document around it is damaged, so that each piece of it must be checked before it is framed.
    """

    __slots__ = ("default_number", "field", "suspect", "time", "waba_id")

    def __init__(self, field: str, waba_id: object, time: object, default_number: str, *, suspect: bool) -> None:
        self.field = field
        self.waba_id = item_keys.fit(str(waba_id)) if waba_id else ""
        self.time = item_keys.seconds(time)
        self.default_number = default_number
        self.suspect = suspect


class _Metadata(msgspec.Struct, gc=False):
    phone_number_id: str | int | None = None


class _OwnMetadata(msgspec.Struct, gc=False):
    metadata: _Metadata


_metadata = msgspec.json.Decoder(_Metadata).decode
_own_metadata = msgspec.json.Decoder(_OwnMetadata).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

OPENINGS = {name: b'{"field":"%s","value":{"messaging_product":"whatsapp"' % name.encode() for name in ITEMS}
_LISTS = {name: b',"%s":[' % name.encode() for lists in ITEMS.values() for name in lists}

Members = dict[str, Buffer | Fields | Items]
Listed = list[tuple[str, EventKind, list[Buffer]]]


def events_of(change: Change, value: Buffer | Fields | Items) -> list[Event]:
    """The events of one change: one per item of a known list, one per unknown list, or one for the whole value."""
    if change.field not in ITEMS:
        return [_whole(change, _raw(value))] if _raw(value) else []
    try:
        members = _opened(value)
    except UNREADABLE:
        return [_whole(change, _raw(value))] if _raw(value) else []
    standby = members.get("standby")
    if standby is None or not (isinstance(standby, Fields) or bytes(_raw(standby)).startswith(b"{")):
        return _events_of_members(change, members, value)
    del members["standby"]
    observed = {name: member for name, member in members.items() if name in CONTEXT} | _opened(standby)
    events = (
        _events_of_members(change, members, value) if members.keys() - CONTEXT and change.field != "standby" else []
    )
    change.field = "standby"
    return events + _events_of_members(change, observed, value)


def _events_of_members(change: Change, members: Members, value: Buffer | Fields | Items) -> list[Event]:
    kinds = ITEMS[change.field]
    known: Listed = []
    strange: dict[str, Buffer] = {}
    for name, member in members.items():
        kind = kinds.get(name)
        if kind is not None:
            known.append((name, kind, _listed(member)))
        elif name not in CONTEXT:
            strange[name] = _raw(member)
    number_id, metadata = _metadata_of(change, members)
    opening = OPENINGS[change.field] + metadata
    beside = b""
    if len(known) > 1 and change.field == "messages":
        known, beside = _with_its_errors(known)
    apart = []
    for name, raw in strange.items():
        too_long = len(beside) + len(raw) > _ROOM_FOR_CONTEXT
        if too_long or bytes(raw).startswith(b"[") or (change.suspect and not _is_sound(raw)):
            apart.append(_apart(change, opening, number_id, name, raw))
        else:
            beside += b",%s:%s" % (_encode(name), bytes(raw))
    events = _framed(change, number_id, opening + beside, members, known) + apart
    if beside and not events and _raw(value):
        events.append(_whole(change, _raw(value)))
    return events


def _framed(change: Change, number_id: str, opening: bytes, members: Members, known: Listed) -> list[Event]:
    contacts = _Contacts(change, members, alone=sum([len(items) for _, _, items in known]) == 1)
    events = []
    for name, kind, items in known:
        before = _LISTS[name]
        # What is history belongs to nobody's turn, and its wamids are those of messages that may come otherwise.
        read = item_keys.read_other if kind is EventKind.HISTORY else item_keys.READERS.get(name, item_keys.read_other)
        needs_sender = kind is EventKind.MESSAGE
        for item in items:
            head = None if change.suspect and not _is_text(item) else read(item)
            if head is None:
                payload = b"".join((opening, before, item, b"]}}"))
                key = item_keys.digest(change.field, item)
                events.append(Event(number_id, kind, key, "", 0.0, payload, INVALID_ITEM))
                continue
            contact, person = contacts.of(head)
            key = head.key or item_keys.digest(change.field, item)
            problem = None if person or not needs_sender else MISSING_SENDER
            payload = b"".join((opening, contact, before, item, b"]}}"))
            events.append(Event(number_id, kind, key, person, head.occurred_at, payload, problem))
    return events


class _Contacts:
    """The contacts of a value, each found by its ids; never by its place, for Meta promises none."""

    __slots__ = ("_alone", "_by_id", "_only")

    def __init__(self, change: Change, members: Members, *, alone: bool) -> None:
        self._alone = alone
        self._only: tuple[bytes, Head] | None = None
        self._by_id: dict[str, tuple[bytes, Head]] = {}
        if "contacts" not in members:
            return
        raw_contacts = _listed(members["contacts"])
        for raw in raw_contacts:
            head = None if change.suspect and not _is_text(raw) else item_keys.READERS["contacts"](raw)
            if head is None:
                continue
            if len(raw) > _ROOM_FOR_CONTEXT:
                raw = _encode({"wa_id": head.phone, "user_id": head.user_id})  # noqa: PLW2901 - the same, cut to its ids
            known = (b',"contacts":[%s]' % bytes(raw), head)
            if len(raw_contacts) == 1:
                self._only = known
            if head.phone:
                self._by_id[head.phone] = known
            if head.user_id:
                self._by_id[head.user_id] = known

    def of(self, head: Head) -> tuple[bytes, str]:
        """The contact to frame an item with, and the key of the person whom the item is about."""
        known = self._by_id.get(head.user_id) or self._by_id.get(head.phone)
        if known is None and self._alone and not (head.user_id or head.phone):
            known = self._only
        if known is None:
            return b"", head.user_id or head.phone
        return known[0], head.user_id or known[1].user_id or head.phone or known[1].phone


def _whole(change: Change, value: Buffer) -> Event:
    """The event of a value that is one thing, or that is not what its field promises."""
    problem = None
    if (change.suspect and not _is_sound(value)) or (change.field in ITEMS and not bytes(value).startswith(b"{")):
        problem = INVALID_ITEM
    kind = EventKind.STANDBY if change.field == "standby" else WHOLE.get(change.field, EventKind.UNKNOWN)
    frame = b'{"field":%s,"waba_id":%s,"time":%d,"value":' % (
        _encode(change.field),
        _encode(change.waba_id),
        change.time,
    )
    # Without the time, a number that is flagged, cleared and flagged again would have been flagged once.
    key = item_keys.digest(change.field, value, str(change.time))
    payload = b"".join((frame, value, b"}"))
    return Event(_number_of_whole(change, value), kind, key, "", change.time, payload, problem)


def _apart(change: Change, opening: bytes, number_id: str, name: str, value: Buffer) -> Event:
    """The event of a list that this field is not known to have."""
    problem = INVALID_ITEM if change.suspect and not _is_sound(value) else None
    payload = b"".join((opening, b",", _encode(name), b":", value, b"}}"))
    return Event(number_id, EventKind.UNKNOWN, item_keys.digest(change.field, value, name), "", 0.0, payload, problem)


def _number_of_whole(change: Change, value: Buffer) -> str:
    try:
        own = item_keys.fit(str(_own_metadata(value).metadata.phone_number_id or ""))
    except UNREADABLE:
        own = ""
    return own or (f"waba:{change.waba_id}" if change.waba_id else change.default_number)


def _metadata_of(change: Change, members: Members) -> tuple[str, bytes]:
    """The number that the items are about, and the metadata to frame them with."""
    raw = _raw(members.get("metadata", b""))
    if not raw or (change.suspect and not _is_sound(raw)):
        return change.default_number, b""
    return metadata_of(raw, change.default_number)


def metadata_of(raw: Buffer, default_number: str) -> tuple[str, bytes]:
    """The number that this metadata names, and the member to frame an item with."""
    try:
        number_id = item_keys.fit(str(_metadata(raw).phone_number_id or ""))
    except UNREADABLE:
        number_id = ""
    if len(raw) > _ROOM_FOR_CONTEXT:
        return number_id or default_number, b',"metadata":{"phone_number_id":%s}' % _encode(number_id)
    return number_id or default_number, b',"metadata":%s' % bytes(raw)


def _with_its_errors(known: Listed) -> tuple[Listed, bytes]:
    """An error beside exactly one message belongs to it (an interactive one without a body comes so); else it is one
    of its own."""
    lists = {name: items for name, _, items in known}
    errors = lists.pop("errors", [])
    if not errors or len(lists.pop("messages", [])) != 1 or any(lists.values()):
        return known, b""
    return [row for row in known if row[0] != "errors"], b',"errors":[%s]' % b",".join(errors)


def _opened(value: Buffer | Fields | Items) -> Members:
    if isinstance(value, dict):
        return dict(value)
    return cast(Members, _members(_raw(value)))


def _listed(member: Buffer | Fields | Items) -> list[Buffer]:
    """The items of a list as they are; what is no list is its own only item, and null is none."""
    if isinstance(member, list):
        return [_raw(item) for item in member]
    raw = _raw(member)
    try:
        return cast("list[Buffer]", _elements(raw))
    except UNREADABLE:
        return [] if bytes(raw) == b"null" else [raw]


def _raw(piece: Buffer | Fields | Items) -> Buffer:
    return piece.raw if isinstance(piece, Fields | Items) else piece


def _is_text(raw: Buffer) -> bool:
    try:
        bytes(raw).decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_sound(raw: Buffer) -> bool:
    try:
        loads(raw)
    except UNREADABLE:
        return False
    return True
