"""A delivery of Meta's becomes events: whole batches, in order, each with its own identity and its own bytes.

`split` is the hot path of the webhook service: the items of a batch are never re-encoded, only cut out and framed.
"""

import hashlib
from typing import Final

import msgspec

from waypost.cloudapi.inbound import delimit, fast_path
from waypost.cloudapi.inbound.delimit import Fields, Items, Piece, Shape
from waypost.cloudapi.inbound.event import Event, EventKind
from waypost.cloudapi.inbound.framing import Change, events_of
from waypost.cloudapi.inbound.lenient import UNREADABLE, loads, storable_text
from waypost.cloudapi.inbound.parsing import parse

__all__ = ["Event", "EventKind", "parse", "split"]

INVALID_JSON: Final = "InvalidJson"
"""The body, or its rest, is no JSON."""
INVALID_ENVELOPE: Final = "InvalidEnvelope"
"""JSON, but not the shape that every delivery of Meta's has (`entry[].changes[]`)."""


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

_SHAPE: Final[Shape] = {
    "entry": [{"changes": [{"value": {"standby": {"*": [None]}, "*": [None]}}]}],
}


def split(body: bytes, *, default_number: str) -> list[Event]:
    """The events of one delivery, in the order of the body. Raises for no bytes whatever.

    An item that cannot be read is one event with a `problem`, and costs its neighbours nothing. A body that cannot be
    read, or not to its end, yields (after whatever came before the damage) one UNPARSEABLE event that holds all of it.
    `default_number` is whose route the delivery came to; it is used where the body names no number. An item that is in
    the body twice is returned twice: the inbox knows it by its key. A name that is twice in one object counts once,
    the last time. A well-formed body without changes has no events.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec takes the text inside a Raw as it comes
        if plain_event := fast_path.event_of(body, default_number):
            return [plain_event]
        envelope = _envelope(body)
    except UNREADABLE:
        return _salvage(body, default_number)
    events: list[Event] = []
    for entry in envelope.entry:
        for change in entry.changes:
            about = Change(change.field, entry.id, entry.time, default_number, suspect=False)
            events += events_of(about, change.value)
    return events


def _salvage(body: bytes, default_number: str) -> list[Event]:
    """The events of a body that strict decoding refused: because of one item, most likely."""
    envelope, whole = delimit.take_apart(body.removeprefix(delimit.BYTE_ORDER_MARK), _SHAPE)
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
                about = Change(field, waba_id, time, default_number, suspect=True)
                events += events_of(about, change["value"])
            else:
                regular = False
    if not (whole and regular and events):
        # What could not be cut out is nowhere else: the body is kept as well.
        events.append(_unparseable(body, default_number, whole=whole))
    return events


def _unparseable(body: bytes, default_number: str, *, whole: bool) -> Event:
    problem = INVALID_ENVELOPE if whole and _is_json(body) else INVALID_JSON
    key = hashlib.sha256(body).hexdigest()[:32]
    return Event(default_number, EventKind.UNPARSEABLE, key, "", 0.0, body, problem)


def _is_json(body: bytes) -> bool:
    try:
        loads(body)
    except UNREADABLE:
        return False
    return True


def _scalar(piece: Piece) -> object:
    """The text or number in `piece`, "" where it is neither."""
    try:
        value = loads(piece.raw if isinstance(piece, Fields | Items) else piece)
    except UNREADABLE:
        return ""
    if isinstance(value, str):
        return storable_text(value)
    return value if isinstance(value, int | float) else ""
