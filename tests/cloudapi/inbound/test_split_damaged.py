"""A damaged delivery never raises an error. No good item is lost, and the delivery itself is not lost either."""

import json

import pytest

from waypost.cloudapi.inbound.delivery import EventKind, split

from .deliveries import change, delivery, text_message

GOOD_TEXT = b'{"id":"odd","from":"1","timestamp":"1","type":"text","text":{"body":"%s"}}'

ODD_BUT_GOOD = {
    "escaped NUL": GOOD_TEXT % b"a\\u0000b",
    "lone surrogate": GOOD_TEXT % b"a\\ud800b",
    "lone low surrogate": GOOD_TEXT % b"\\udc00",
    "integer of 5,000 digits": b'{"id":"odd","from":"1","timestamp":"1","n":' + b"9" * 5000 + b"}",
    "number beyond all floats": b'{"id":"odd","from":"1","timestamp":"1","n":1e999}',
    "the same name twice": b'{"id":"even","id":"odd","from":"1"}',
    "100,000 members": b'{"id":"odd","from":"1",' + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}",
}

BAD = {
    "NaN": b'{"id":"bad","from":"1","n":NaN}',
    "minus infinity": b'{"id":"bad","from":"1","n":-Infinity}',
    "raw NUL": GOOD_TEXT % b"a\0b",
    "raw line break in a string": GOOD_TEXT % b"a\nb",
    "invalid UTF-8": GOOD_TEXT % b"\xff",
    "a surrogate in UTF-8": GOOD_TEXT % b"\xed\xa0\x80",
    "100,000 arrays deep": b'{"id":"bad","n":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects deep": b'{"id":"bad","n":' + b'{"n":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a missing value": b'{"id":"bad","n":}',
    "a trailing comma": b'{"id":"bad","from":"1",}',
    "mismatched brackets": b'{"id":"bad","n":[1}]',
    "a bad escape": GOOD_TEXT % b"\\x",
    "a number": b"5",
    "a string": b'"hello"',
    "null": b"null",
    "a list": b'[{"id":"bad"}]',
    "a bare word": b"hello",
}


def batch_with(item: bytes, neighbours: int) -> bytes:
    """Returns a delivery of good messages, with `item` in the middle."""
    messages = [text_message(f"wamid.{index}") for index in range(neighbours)]
    messages.insert(neighbours // 2, text_message("PLACE"))
    return delivery(change(messages=messages)).replace(
        json.dumps(text_message("PLACE"), separators=(",", ":")).encode(), item
    )


@pytest.mark.parametrize("item", ODD_BUT_GOOD.values(), ids=ODD_BUT_GOOD)
def test_odd_json_is_json(item: bytes) -> None:
    """Every item that RFC 8259 allows becomes an event without a problem.

    Some of these items are read differently by different decoders.
    """
    events = split(batch_with(item, 2), default_number="default")
    assert [(event.key, event.problem) for event in events] == [("wamid.0", None), ("odd", None), ("wamid.1", None)]


@pytest.mark.fault("D4")
@pytest.mark.parametrize("item", BAD.values(), ids=BAD)
def test_a_bad_item_costs_only_itself(item: bytes) -> None:
    """A bad item does not affect the other items of a delivery.

    If one item in a thousand is bad, there are 999 good events and one dead event. The dead event contains the
    bad item as it was received.
    """
    events = split(batch_with(item, 999), default_number="default")
    dead = events.pop(499)
    assert (dead.kind, dead.problem) == (EventKind.MESSAGE, "InvalidItem")
    assert item in dead.payload
    assert [(event.key, event.problem) for event in events] == [(f"wamid.{index}", None) for index in range(999)]


@pytest.mark.parametrize("name", [b"\\ud83d", b"\\u0000"])
def test_a_contact_with_an_odd_name_is_still_the_contact(name: bytes) -> None:
    """A contact with an odd profile name is still the contact, and the message is not lost.

    Half an emoji is the likeliest oddity.
    """
    body = delivery(change(contacts=[{"profile": {"name": "NAME"}, "wa_id": "16505551234", "user_id": "US.1"}],
                           messages=[text_message("a")])).replace(b"NAME", name)  # fmt: skip
    (event,) = split(body, default_number="default")
    assert (event.key, event.contact_key, event.problem) == ("a", "US.1", None)
    assert name in event.payload


def test_a_byte_order_mark_is_skipped() -> None:
    """A byte order mark before the body does not change the events."""
    body = delivery(change(messages=[text_message("a")]))
    assert split(b"\xef\xbb\xbf" + body, default_number="d") == split(body, default_number="d")


def test_damage_in_the_envelope_does_not_reach_the_items() -> None:
    """A bad value beside the entries has no effect on the events."""
    body = delivery(change(messages=[text_message("a")])).replace(b'"whatsapp_business_account"', b"NaN")
    assert [(event.key, event.problem) for event in split(body, default_number="d")] == [("a", None)]


UNREADABLE = {
    "nothing": b"",
    "blanks": b"  ",
    "NULs": b"\0" * 100,
    "text": b"hello",
    "half an object": b'{"entry":[',
    "only opening": b"[" * 100_000,
    "objects without end": b'{"a":' * 100_000,
    "UTF-16": '{"entry":[]}'.encode("utf-16"),
    "many byte order marks": b"\xef\xbb\xbf" * 10_000,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_body_is_one_event(body: bytes) -> None:
    """An unreadable body becomes one dead event with a reason.

    The event contains the whole body. It is stored under the number of the route that received the body.
    """
    (event,) = split(body, default_number="default")
    assert (event.kind, event.number_id, event.payload) == (EventKind.UNPARSEABLE, "default", body)
    assert event.problem == "InvalidJson"


ANOTHER_SHAPE = {
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "entry is an object": b'{"entry":{}}',
    "an entry is a number": b'{"entry":[5]}',
    "an entry of another product": b'{"object":"page","entry":[{"id":"1","messaging":[{"message":{"text":"hi"}}]}]}',
    "a change is a string": b'{"entry":[{"changes":["messages"]}]}',
    "a change has no value": b'{"entry":[{"changes":[{"field":"messages"}]}]}',
}


@pytest.mark.parametrize("body", ANOTHER_SHAPE.values(), ids=ANOTHER_SHAPE)
def test_json_of_another_shape_is_one_dead_event(body: bytes) -> None:
    """JSON that is not a delivery of Meta becomes one dead event with a reason."""
    (event,) = split(body, default_number="default")
    assert (event.kind, event.problem, event.payload) == (EventKind.UNPARSEABLE, "InvalidEnvelope", body)


@pytest.mark.parametrize("value", [b"5", b'"x"', b"null", b"[]", b"true"])
def test_a_value_that_is_not_an_object_is_a_dead_event(value: bytes) -> None:
    """A value that is not an object becomes a dead event, because it cannot contain the items of its field."""
    body = b'{"entry":[{"id":"7","changes":[{"field":"messages","value":%s}]}]}' % value
    (event,) = split(body, default_number="default")
    assert (event.kind, event.problem, event.number_id) == (EventKind.UNKNOWN, "InvalidItem", "waba:7")


def test_a_bad_entry_does_not_hide_the_good_ones() -> None:
    """A bad entry does not hide the good entries.

    The bad entry gives one more event after the events of the good entries. This event contains the whole body.
    """
    good = delivery(change(messages=[text_message("a")])).decode()
    body = good.replace('"entry":[', '"entry":[17,').encode()
    first, rest = split(body, default_number="default")
    assert (first.key, first.problem) == ("a", None)
    assert (rest.kind, rest.payload) == (EventKind.UNPARSEABLE, body)


@pytest.mark.parametrize("field", ["account_update", "telepathy_update"])
def test_a_damaged_whole_value_is_dead_and_its_neighbour_is_not(field: str) -> None:
    """If a value is one event and is damaged, it becomes a dead event. The next value does not.

    Such a value is checked in the same way as an item.
    """
    body = b'{"entry":[{"id":"7","time":3,"changes":[{"field":"%s","value":{"n":NaN}},{"field":"%s","value":{}}]}]}'
    events = split(body % (field.encode(), field.encode()), default_number="default")
    assert [event.problem for event in events] == ["InvalidItem", None]


def test_a_body_cut_short_gives_what_came_before_the_cut() -> None:
    """A body that was cut short gives the items before the cut.

    Complete items become good events. The body is kept too, because it contains the incomplete rest.
    """
    body = delivery(change(messages=[text_message("a"), text_message("b"), text_message("c")]))
    cut = body[: body.index(b'"c"')]
    *events, rest = split(cut, default_number="default")
    assert [event.key for event in events] == ["a", "b"]
    assert (rest.kind, rest.problem, rest.payload) == (EventKind.UNPARSEABLE, "InvalidJson", cut)


def test_a_body_with_something_after_it_is_kept_too() -> None:
    """If bytes follow the JSON document, the whole body is kept too. The bytes are not lost."""
    body = delivery(change(messages=[text_message("a")])) + b"}"
    assert [event.kind for event in split(body, default_number="default")] == ["message", "unparseable"]


def test_a_flood_of_empty_containers_is_not_taken_apart() -> None:
    """A damaged body with far more containers than Meta sends becomes one event.

    If the body were split, its objects would need hundreds of megabytes.
    """
    body = b'{"entry":[' + b'{"changes":[]},' * 100_000 + b"NaN]}"
    (event,) = split(body, default_number="default")
    assert (event.kind, event.payload) == (EventKind.UNPARSEABLE, body)
