"""Splits a delivery of Meta's into events. The events keep their order, and each keeps its own key and bytes.

`split` is the hot path of the webhook service. The items of a batch are cut out and framed, and never encoded
again.
"""

import hashlib
from typing import Final

import msgspec

from waypost.cloudapi.inbound import damaged_json, fast_path
from waypost.cloudapi.inbound.damaged_json import Fields, Items, Piece, Shape
from waypost.cloudapi.inbound.event import Event, EventKind, Problem
from waypost.cloudapi.inbound.framing import STANDBY, ChangeContext, events_of
from waypost.cloudapi.inbound.lenient_json import DECODE_ERRORS, loads, storable_text
from waypost.cloudapi.inbound.parsing import parse

__all__ = ["Event", "EventKind", "Problem", "parse", "split"]


class _EnvelopeChange(msgspec.Struct, gc=False):
    value: msgspec.Raw
    field: str = ""


class _EnvelopeEntry(msgspec.Struct, gc=False):
    changes: list[_EnvelopeChange]
    id: str | int | None = None
    time: str | int | float | None = None


class _Envelope(msgspec.Struct, gc=False):
    entry: list[_EnvelopeEntry]


_envelope = msgspec.json.Decoder(_Envelope).decode

_DELIVERY_SHAPE: Final[Shape] = {
    "entry": [{"changes": [{"value": {STANDBY: {"*": [None]}, "*": [None]}}]}],
}


def split(body: bytes, *, default_number: str) -> list[Event]:
    """Returns the events of one delivery, in the order of the body. Never raises, whatever the bytes are.

    An item that cannot be read becomes one event with a `problem` and does not affect its neighbours. If a body
    cannot be read to its end, the events before the damage come first. After them comes one UNPARSEABLE event
    with the whole body.

    `default_number` is the number whose route received the delivery. It is used if the body names no number. An
    item that occurs twice in the body is returned twice, because the inbox recognises it by its key. A name that
    occurs twice in one object counts once, with its last value. A well-formed body without changes has no events.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec does not check the UTF-8 inside a Raw.
        if event := fast_path.event_of(body, default_number):
            return [event]
        envelope = _envelope(body)
    except DECODE_ERRORS:
        return _salvage(body, default_number)
    events: list[Event] = []
    for entry in envelope.entry:
        for change in entry.changes:
            context = ChangeContext(change.field, entry.id, entry.time, default_number, suspect=False)
            events += events_of(context, change.value)
    return events


def _salvage(body: bytes, default_number: str) -> list[Event]:
    """Returns the events of a body that strict decoding refused. Most likely only a single item is bad."""
    envelope, whole = damaged_json.take_apart(body.removeprefix(damaged_json.BYTE_ORDER_MARK), _DELIVERY_SHAPE)
    entries = envelope.get("entry") if isinstance(envelope, Fields) else None
    regular = isinstance(entries, Items)
    events: list[Event] = []
    for entry in entries if isinstance(entries, Items) else ():
        changes = entry.get("changes") if isinstance(entry, Fields) else None
        if not isinstance(entry, Fields) or not isinstance(changes, Items):
            regular = False
            continue
        waba_id, time = _scalar(entry.get("id", b"null")), _scalar(entry.get("time", b"null"))
        for change in changes:
            if isinstance(change, Fields) and "value" in change:
                field = str(_scalar(change.get("field", b"null")))
                context = ChangeContext(field, waba_id, time, default_number, suspect=True)
                events += events_of(context, change["value"])
            else:
                regular = False
    if not (whole and regular and events):
        # Parts that could not be cut out are stored nowhere else, so the whole body is kept too.
        events.append(_unparseable(body, default_number, whole=whole))
    return events


def _unparseable(body: bytes, default_number: str, *, whole: bool) -> Event:
    problem = Problem.INVALID_ENVELOPE if whole and _is_json(body) else Problem.INVALID_JSON
    key = hashlib.sha256(body).hexdigest()[:32]
    return Event(default_number, EventKind.UNPARSEABLE, key, "", 0.0, body, problem)


def _is_json(body: bytes) -> bool:
    try:
        loads(body)
    except DECODE_ERRORS:
        return False
    return True


def _scalar(piece: Piece) -> object:
    """Returns the text or the number that `piece` holds, or "" if it holds neither."""
    try:
        value = loads(piece.raw if isinstance(piece, Fields | Items) else piece)
    except DECODE_ERRORS:
        return ""
    if isinstance(value, str):
        return storable_text(value)
    return value if isinstance(value, int | float) else ""
