"""Tests that a delivery has a bounded number of events, whatever its shape is."""

import json

import pytest

from waypost.cloudapi.inbound import damaged_json
from waypost.cloudapi.inbound.delivery import MOST_BYTES, MOST_EVENTS, EventKind, Problem, split

from .deliveries import change, delivery, text_message


def batch(count: int, *, metadata: str = "") -> bytes:
    """Returns a body with `count` messages in one change."""
    messages = [text_message(f"wamid.{number}", "a,b", "15550001") for number in range(count)]
    return json.dumps(
        {"entry": [{"changes": [{"field": "messages", "value": {"metadata": {"x": metadata}, "messages": messages}}]}]}
    ).encode()


def test_the_most_events_are_events_of_their_own() -> None:
    """A delivery of the most events is split. With one event more, it is one dead event with the whole body."""
    events = split(batch(MOST_EVENTS), default_number="1")
    assert {(event.kind, event.problem) for event in events} == {(EventKind.MESSAGE, None)}
    assert len(events) == MOST_EVENTS
    body = batch(MOST_EVENTS + 1)
    (event,) = split(body, default_number="1")
    assert (event.kind, event.problem, event.payload) == (EventKind.UNPARSEABLE, Problem.TOO_MANY_EVENTS, body)
    assert (event.number_id, bool(event.key)) == ("1", True)


def test_what_items_share_counts_for_each_of_them() -> None:
    """What the items of a value share is repeated in each event, so it is bounded by the sum of their payloads."""
    events = split(batch(1_000, metadata="x" * 8_000), default_number="1")
    assert len(events) == 1_000
    assert sum(len(event.payload) for event in events) <= MOST_BYTES
    (event,) = split(batch(2_000, metadata="x" * 8_000), default_number="1")
    assert event.problem == Problem.TOO_MANY_EVENTS


def test_commas_in_texts_are_no_items() -> None:
    """A batch of long texts with many commas is split as usual: what a person writes never makes a batch too large."""
    messages = [text_message(f"wamid.{number}", "," * 4_000, "15550001") for number in range(900)]
    events = split(delivery(change(messages=messages)), default_number="1")
    assert [event.problem for event in events] == [None] * 900


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"entry":[{"changes":[{"field":"messages","value":{"messages":[%b{}]}}]}]}' % (b"{}," * 40_000),
        b'{"entry":[{"changes":[%b{}]}]}' % (b'{"value":1},' * 40_000),
        b'{"entry":[%b{}]}' % (b'{"changes":[]},' * 40_000),
        b'{"entry":[{"changes":[{"field":"x","value":{%b"b":1}}]}]}' % (b'"a":1,' * 40_000),
        b'{"entry":[{"changes":[{"field":"messages","value":{"contacts":[%b{}],"messages":[{}]}}]}]}'
        % (b"{}," * 6_000),
        b'{"entry":[{"changes":[{"field":"standby","value":{"standby":{"messages":[%b1]}}}]}]}' % (b"1," * 40_000),
    ],
)
def test_too_many_values_are_not_taken_apart(body: bytes, mark: bytes) -> None:
    """A body with far more values than a batch is not taken apart, wherever the values are and whatever they are."""
    (event,) = split(mark + body, default_number="1")
    assert (event.problem, event.payload) == (Problem.TOO_MANY_EVENTS, mark + body)


def test_a_damaged_document_is_taken_apart_up_to_a_limit() -> None:
    """Values beyond the limit are never kept, also if nothing has counted them before."""
    document = b"[" + b"1," * 1_000 + b"1]"
    pieces, whole = damaged_json.take_apart(document, [None], 100)
    assert (len(pieces), whole) == (99, False)
    assert damaged_json.take_apart(document, [None], 1_002)[1]


def test_a_byte_order_mark_changes_nothing() -> None:
    """A delivery with a byte order mark becomes the same events as without it."""
    body = batch(3)
    assert split(b"\xef\xbb\xbf" + body, default_number="1") == split(body, default_number="1")


def test_a_name_with_half_a_surrogate_pair_is_no_error() -> None:
    """An item that strict decoding refuses, with a name that is not valid text, is an event as usual."""
    body = delivery(change(messages=[{"id": 17, "from": "15550001"}])).replace(b'"id":17', b'"id":17,"\\ud800":1')
    (event,) = split(body, default_number="1")
    assert event.key == "17"
