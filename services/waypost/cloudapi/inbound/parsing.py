"""Parses a stored event into a typed record, which the worker uses."""

import json
from typing import cast

import msgspec

from waypost.cloudapi.inbound import account, conversation
from waypost.cloudapi.inbound.event import Problem
from waypost.cloudapi.inbound.fields import CONTEXT, ITEM_KINDS, WebhookField
from waypost.cloudapi.inbound.lenient_json import DECODE_ERRORS, loads, storable
from waypost.cloudapi.inbound.members import Members
from waypost.cloudapi.inbound.records import Inbound, Observed, Standby, UnreadableEvent, Unrecognised


def parse(payload: bytes) -> Inbound:
    """Returns the record of an event's payload.

    The texts of the record are valid for PostgreSQL: U+FFFD replaces U+0000 and lone surrogates. Unknown types,
    members and values are kept, and are named in the record's `unknown`.

    Raises `UnreadableEvent` for a payload that is not JSON, lacks the frame of `split` or has no item. Raises it
    for a message without a sender too.
    """
    clean = storable(payload)
    try:
        return _read(clean)
    except DECODE_ERRORS:
        pass
    try:
        # msgspec refuses numbers beyond 64 bits anywhere in a document; the standard library turns them into text.
        return _read(json.dumps(loads(clean)).encode())
    except DECODE_ERRORS as error:
        # The original error would show the unreadable payload to whatever logs it, so it is dropped.
        raise UnreadableEvent(Problem.INVALID_PAYLOAD, f"the payload cannot be read ({type(error).__name__})") from None


class _Frame(msgspec.Struct):
    field: str
    value: msgspec.Raw
    waba_id: str = ""
    time: float = 0.0


_frame = msgspec.json.Decoder(_Frame).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _read(payload: bytes) -> Inbound:
    if not payload.isascii():
        payload.decode()  # msgspec does not check the UTF-8 inside a Raw.
    frame = _frame(payload)
    if frame.field not in ITEM_KINDS:
        return account.read(frame.field, frame.value, frame.waba_id, frame.time)
    notes: list[str] = []
    value = Members(frame.value, "value", notes)
    for name in CONTEXT:
        value.get(name)
    record = _item(frame.field, value)
    value.note_unread()
    if record is None:
        number_id = conversation.number_of(value)
        plain = msgspec.json.decode(frame.value)
        record = Unrecognised(number_id=number_id, field=frame.field, waba_id=frame.waba_id, content=plain)
    record = msgspec.structs.replace(record, unknown=tuple(notes))
    if frame.field == WebhookField.STANDBY:
        return Standby(
            number_id=record.number_id,
            occurred_at=record.occurred_at,
            unknown=record.unknown,
            observed=cast(Observed, record),
        )
    return record


def _item(field: str, value: Members) -> Inbound | None:
    """Parses the only item of a framed value. Returns None if the value has no list that is known for `field`."""
    for name in ITEM_KINDS[field]:
        raw = value.get(name)
        if raw is None:
            continue
        for item in _list(raw):
            parse_item = (
                account.READERS_BY_FIELD.get((field, name)) or conversation.READERS.get(name) or account.READERS[name]
            )
            return parse_item(value, Members(item, name, value.notes))
    return None
