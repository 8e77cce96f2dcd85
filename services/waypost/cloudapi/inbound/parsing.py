"""One stored event becomes one typed record: the worker's view of what Meta said."""

import json
from typing import cast

import msgspec

from waypost.cloudapi.inbound import account, conversation
from waypost.cloudapi.inbound.fields import CONTEXT, ITEMS
from waypost.cloudapi.inbound.lenient import UNREADABLE, loads, storable
from waypost.cloudapi.inbound.members import Members
from waypost.cloudapi.inbound.records import Inbound, Observed, Standby, UnreadableEvent, Unrecognised

INVALID_PAYLOAD = "InvalidPayload"


def parse(payload: bytes) -> Inbound:
    """What an event's payload says. Text in it is fit for PostgreSQL: U+0000 and lone surrogates became U+FFFD.

    Types, members and values that are not known are kept, and named in the record's `unknown`. Raises `UnreadableEvent`
    for a payload that is no JSON, lacks the frame of `split` or has no item in it, and for a message from nobody.
    """
    clean = storable(payload)
    try:
        return _read(clean)
    except UNREADABLE:
        pass
    try:
        # Numbers beyond 64 bits: msgspec refuses them wherever they stand, the standard library makes them text.
        return _read(json.dumps(loads(clean)).encode())
    except UNREADABLE as error:
        # The error itself would carry what it could not read into whatever prints it.
        raise UnreadableEvent(INVALID_PAYLOAD, f"the payload cannot be read ({type(error).__name__})") from None


class _Frame(msgspec.Struct):
    field: str
    value: msgspec.Raw
    waba_id: str = ""
    time: float = 0.0


_frame = msgspec.json.Decoder(_Frame).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _read(payload: bytes) -> Inbound:
    if not payload.isascii():
        payload.decode()  # msgspec takes the text inside a Raw as it comes
    frame = _frame(payload)
    if frame.field not in ITEMS:
        return account.read(frame.field, frame.value, frame.waba_id, frame.time)
    notes: list[str] = []
    value = Members(frame.value, "value", notes)
    for name in CONTEXT:
        value.get(name)
    record = _item(frame.field, value)
    value.note_rest()
    if record is None:
        number_id = conversation.number_of(value)
        plain = msgspec.json.decode(frame.value)
        record = Unrecognised(number_id=number_id, field=frame.field, waba_id=frame.waba_id, content=plain)
    record = msgspec.structs.replace(record, unknown=tuple(notes))
    if frame.field == "standby":
        return Standby(
            number_id=record.number_id,
            occurred_at=record.occurred_at,
            unknown=record.unknown,
            observed=cast(Observed, record),
        )
    return record


def _item(field: str, value: Members) -> Inbound | None:
    """The one item of a framed value; None where it has none of a list that is known."""
    for name in ITEMS[field]:
        raw = value.get(name)
        if raw is None:
            continue
        for item in _list(raw):
            read = account.ELSEWHERE.get((field, name)) or conversation.READERS.get(name) or account.READERS[name]
            return read(value, Members(item, name, value.notes))
    return None
