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
from waypost.cloudapi.inbound.framing import STANDBY, Budget, ChangeContext, TooManyEvents, events_of
from waypost.cloudapi.inbound.lenient_json import DECODE_ERRORS, check_utf8, is_json, loads, storable_text
from waypost.cloudapi.inbound.parsing import parse

__all__ = ["MOST_BYTES", "MOST_EVENTS", "Event", "EventKind", "Problem", "parse", "split"]

MOST_EVENTS: Final = 5_000
"""Most events of one delivery. Meta delivers at most 1,000 updates at once. Each takes 500 bytes and more."""

MOST_BYTES: Final = 12 * 1024 * 1024
"""Most bytes of the payloads of one delivery. They are more than the body's, since each repeats what it shares."""

_MOST_VALUES: Final = 30_000
"""Most members and items that a body is taken apart into. A batch of Meta's largest has about 13,000."""


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

    A body that would become more than `MOST_EVENTS` events, or more than `MOST_BYTES` bytes, becomes one dead
    event with the whole body. A byte order mark before the text changes nothing.
    """
    text = body.removeprefix(damaged_json.BYTE_ORDER_MARK)
    if len(text) > _MOST_VALUES and damaged_json.has_more_values(text, _DELIVERY_SHAPE, _MOST_VALUES):
        return [_whole_body_event(body, default_number, Problem.TOO_MANY_EVENTS)]
    budget = Budget(MOST_EVENTS, MOST_BYTES)
    try:
        return _split(body, text, default_number, budget)
    except TooManyEvents:
        return [_whole_body_event(body, default_number, Problem.TOO_MANY_EVENTS)]


def _split(body: bytes, text: bytes, default_number: str, budget: Budget) -> list[Event]:
    try:
        if not text.isascii():
            check_utf8(text)  # msgspec does not check the UTF-8 inside a Raw.
        if event := fast_path.event_of(text, default_number):
            return [event]
        envelope = _envelope(text)
    except DECODE_ERRORS:
        return _salvage(body, text, default_number, budget)
    events: list[Event] = []
    for entry in envelope.entry:
        for change in entry.changes:
            context = ChangeContext(change.field, entry.id, entry.time, default_number, budget, suspect=False)
            events += events_of(context, change.value)
    return events


def _salvage(body: bytes, text: bytes, default_number: str, budget: Budget) -> list[Event]:
    """Returns the events of a body that strict decoding refused. Most likely only a single item is bad."""
    envelope, whole = damaged_json.take_apart(text, _DELIVERY_SHAPE, _MOST_VALUES)
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
                context = ChangeContext(field, waba_id, time, default_number, budget, suspect=True)
                events += events_of(context, change["value"])
            else:
                regular = False
    if not (whole and regular and events):
        # Parts that could not be cut out are stored nowhere else, so the whole body is kept too.
        events.append(_unparseable(body, default_number, whole=whole))
    return events


def _unparseable(body: bytes, default_number: str, *, whole: bool) -> Event:
    problem = Problem.INVALID_ENVELOPE if whole and is_json(body) else Problem.INVALID_JSON
    return _whole_body_event(body, default_number, problem)


def _whole_body_event(body: bytes, default_number: str, problem: Problem) -> Event:
    key = hashlib.sha256(body).hexdigest()[:32]
    return Event(default_number, EventKind.UNPARSEABLE, key, "", 0.0, body, problem)


def _scalar(piece: Piece) -> object:
    """Returns the text or the number that `piece` holds, or "" if it holds neither."""
    try:
        value = loads(piece.raw if isinstance(piece, Fields | Items) else piece)
    except DECODE_ERRORS:
        return ""
    if isinstance(value, str):
        return storable_text(value)
    return value if isinstance(value, int | float) else ""
