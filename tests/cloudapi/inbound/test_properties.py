"""`split` and `parse` keep certain promises for every delivery, even for random bytes."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from waypost.cloudapi.inbound import records
from waypost.cloudapi.inbound.delivery import EventKind, parse, split

from .deliveries import METADATA, SAMPLES, change, delivery, envelope, text_message

ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
"""Any code point: U+0000, lone surrogates, and everything that JSON must escape."""

BODIES = [delivery(sample) for sample in SAMPLES.values()]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Returns a documented delivery with some of its bytes removed, doubled or replaced."""
    body = bytearray(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 12)))
        body[start:end] = draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b"", b"NaN", b"\\ud800", b"\\u0000", b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"\\"]
                ),
                st.just(bytes(body[start:end]) * 2),
            )
        )
    return bytes(body)


def readable(payload: bytes) -> bool:
    """Returns whether the worker could read an event with this payload."""
    try:
        parse(payload)
    except records.UnreadableEvent:
        return False
    return True


@given(st.one_of(st.binary(), mutated()))
@example(b'{"entry":[{"changes":[{"field":"\\ud800","value":NaN}]}]}')
@settings(max_examples=400)
def test_no_bytes_make_split_raise_and_none_are_dropped(body: bytes) -> None:
    """Any bytes become events that the database can store.

    `split` never raises an error. The worker can read every event that has no problem.
    """
    events = split(body, default_number="default")
    for event in events:
        identity = event.number_id + event.key + event.contact_key
        assert identity.isascii()
        assert identity.isprintable()
        assert event.key
        assert 0 <= event.occurred_at < 253402300800
        assert event.problem or readable(event.payload)
    if not events:
        # Only a well-formed delivery without items gives no events.
        assert all(
            not items
            for entry in json.loads(body)["entry"]
            for part in entry["changes"]
            for name, items in part["value"].items()
            if name not in ("messaging_product", "metadata", "contacts")
        )


Batch = list[tuple[int, str, str, str | None]]
"""Messages as (index, text, phone, user id)."""

message = st.builds(
    lambda index, body, sender, user_id: (index, body, sender, user_id),
    st.integers(0, 10**6),
    ANY_TEXT,
    st.from_regex(r"[1-9][0-9]{7,14}", fullmatch=True),
    st.one_of(st.none(), st.from_regex(r"[A-Z]{2}\.[A-Za-z0-9]{1,30}", fullmatch=True)),
)
batches = st.lists(message, max_size=12, unique_by=lambda one: one[0])


def as_items(batch: Batch) -> Iterator[dict[str, Any]]:
    """Yields the messages of a batch as Meta writes them. A message has a user id only if its sender has one."""
    for index, body, sender, user_id in batch:
        item = text_message(f"wamid.{index}=", body, sender)
        yield item | {"from_user_id": user_id} if user_id else item


@given(batch=batches, ascii_only=st.booleans(), per_change=st.integers(1, 5))
def test_every_item_becomes_one_event(batch: Batch, ascii_only: bool, per_change: int) -> None:
    """N items give N events without a problem.

    The events have distinct keys and are in the order of the body. The items may be spread over entries in any
    way.
    """
    items = list(as_items(batch))
    changes = [change(messages=items[start : start + per_change]) for start in range(0, len(items), per_change)]
    body = json.dumps(envelope(*changes), ensure_ascii=ascii_only).encode("utf-8", "replace")
    events = split(body, default_number="default")
    assert [event.key for event in events] == [item["id"] for item in items]
    assert [(event.kind, event.problem) for event in events] == [(EventKind.MESSAGE, None)] * len(items)
    assert [event.contact_key for event in events] == [item.get("from_user_id", item["from"]) for item in items]


@given(batch=batches, damage=st.sampled_from([b"", b"NaN,", b'"\xff",', b"[" * 2000 + b"]" * 2000 + b","]))
def test_every_item_is_verbatim_in_exactly_one_payload(batch: Batch, damage: bytes) -> None:
    """The signed bytes of every item are in exactly one payload.

    This is also true if another item of the delivery is not even JSON.
    """
    raw = [json.dumps(item).encode() for item in as_items(batch)]
    metadata = json.dumps(METADATA).encode()
    body = b'{"entry":[{"changes":[{"field":"messages","value":{"metadata":%s,"messages":[%s]}}]}]}' % (
        metadata,
        damage + b",".join(raw) if raw else damage.rstrip(b","),
    )
    payloads = Counter(item for event in split(body, default_number="d") for item in raw if item in event.payload)
    assert payloads == Counter(raw)


@given(batch=batches)
def test_split_events_are_parsed_back(batch: Batch) -> None:
    """Identity and text survive `split` and `parse`. Only characters that PostgreSQL refuses are replaced."""
    events = split(delivery(change(messages=list(as_items(batch)))), default_number="default")
    for event, (index, body, sender, user_id) in zip(events, batch, strict=True):
        record = parse(event.payload)
        assert isinstance(record, records.InboundMessage)
        assert record.wamid == event.key == f"wamid.{index}="
        assert record.sender == records.Identity(sender, user_id)
        assert record.sender.key == event.contact_key
        # Two halves of a surrogate pair that meet are one character, in JSON as in UTF-16.
        whole = body.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert (record.text or "") == whole.replace("\0", "\ufffd")


@given(st.one_of(st.binary(), mutated()))
def test_parse_raises_only_its_own_error(payload: bytes) -> None:
    """No payload makes `parse` raise anything but `UnreadableEvent`."""
    readable(payload)
