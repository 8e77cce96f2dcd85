"""A delivery is split into events. Each event has its own identity and can be read on its own."""

import json
from typing import Any

import msgspec
import pytest

from waypost.cloudapi.inbound.delivery import Event, EventKind, split

from .deliveries import METADATA, NUMBER, SAMPLES, WABA, change, delivery, text_message


def the_event(body: bytes) -> Event:
    """Returns the only event of a delivery."""
    (event,) = split(body, default_number="default")
    return event


def framed(event: Event) -> dict[str, Any]:
    """Returns the value inside an event's payload."""
    value: dict[str, Any] = json.loads(event.payload)["value"]
    return value


KINDS = {
    "text": EventKind.MESSAGE,
    "known by user id only": EventKind.MESSAGE,
    "changed number": EventKind.MESSAGE,
    "unknown type": EventKind.MESSAGE,
    "status": EventKind.STATUS,
    "failed status": EventKind.STATUS,
    "errors alone": EventKind.ERROR,
    "business app echo": EventKind.ECHO,
    "echo": EventKind.ECHO,
    "standby message": EventKind.STANDBY,
    "standby echo": EventKind.STANDBY,
    "standby status": EventKind.STANDBY,
    "history": EventKind.HISTORY,
    "history media": EventKind.HISTORY,
    "contact sync": EventKind.ACCOUNT,
    "marketing stop": EventKind.PREFERENCE,
    "call": EventKind.CALL,
    "call status": EventKind.CALL,
    "group created": EventKind.GROUP,
    "template rejected": EventKind.TEMPLATE,
    "template quality": EventKind.TEMPLATE,
    "template category": EventKind.TEMPLATE,
    "template edited": EventKind.TEMPLATE,
    "account restricted": EventKind.ACCOUNT,
    "number quality": EventKind.ACCOUNT,
    "flow alert": EventKind.ACCOUNT,
    "handover": EventKind.UNKNOWN,
    "unknown field": EventKind.UNKNOWN,
}


@pytest.mark.parametrize(("sample", "kind"), KINDS.items(), ids=KINDS)
def test_each_field_has_its_kind(sample: str, kind: EventKind) -> None:
    """Each event has the right kind. The kind depends on the field and on the list that contains the item."""
    assert the_event(delivery(SAMPLES[sample])).kind is kind


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_sample_is_dead_on_arrival(sample: str) -> None:
    """No delivery that Meta documents gives an event with a problem, even if we do not know its field."""
    assert [
        event.problem for event in split(delivery(SAMPLES[sample]), default_number="default") if event.problem
    ] == []


KEYS = {
    "text": "wamid.IN.text",
    "status": "wamid.OUT.1:delivered",
    "failed status": "wamid.OUT.2:failed",
    "unknown status": "wamid.OUT.4:pondered",
    "echo": "wamid.ECHO.2",
    "standby message": "wamid.IN.standby",
    "standby status": "wamid.OUT.6:delivered",
}


@pytest.mark.parametrize(("sample", "key"), KEYS.items(), ids=KEYS)
def test_an_item_with_an_id_is_identified_by_it(sample: str, key: str) -> None:
    """Messages and echoes are identified by wamid. Statuses are identified by wamid and status."""
    assert the_event(delivery(SAMPLES[sample])).key == key


def test_statuses_of_a_group_are_distinguished_by_participant() -> None:
    """The statuses of a group message have different keys for different participants.

    No status is a duplicate of another participant's status.
    """
    events = split(delivery(SAMPLES["group statuses"]), default_number="default")
    assert [event.key for event in events] == ["wamid.OUT.5:read:16505551234", "wamid.OUT.5:read:16505555678"]


@pytest.mark.parametrize(
    "wamid", [None, "", 17, {"a": 1}, "wamid.\0", "wamid.\ud800", "w" * 5000], ids=lambda wamid: repr(wamid)[:20]
)
def test_an_unusable_id_is_replaced_by_a_digest(wamid: object) -> None:
    """A missing or unusable id is replaced by a digest, and the message is kept."""
    event = the_event(delivery(change(messages=[text_message("x") | {"id": wamid}])))
    if wamid == 17:
        assert event.key == "17"
    else:
        assert len(event.key) == 32
        assert int(event.key, 16)
    assert event.problem is None


def test_the_digest_is_the_items_own() -> None:
    """The digest of an item depends only on the item.

    The same item has the same key in another batch. A different item has a different key.
    """
    first, second = {"timestamp": "1", "from": "1", "type": "text"}, {"timestamp": "2", "from": "1", "type": "text"}
    alone = the_event(delivery(change(messages=[first])))
    both = split(delivery(change(messages=[second, first])), default_number="default")
    assert [event.key == alone.key for event in both] == [False, True]


def test_the_same_account_event_at_another_time_is_another_event() -> None:
    """The same account event at another time is another event.

    A template that is paused, reinstated and paused again was paused twice.
    """
    paused = {"field": "message_template_status_update", "value": {"event": "PAUSED", "message_template_id": 1}}
    first, again = split(delivery(paused | {"time": 1}, paused | {"time": 2}), default_number="default")
    assert first.key != again.key


PEOPLE = {
    "text": "US.13491208655302741918",
    "known by user id only": "US.77",
    "user id in the place of the phone": "US.77",
    "changed number": "16505551234",
    "changed user id": "US.1000",
    "group message": "US.13491208655302741918",
    "status": "US.13491208655302741918",
    "failed status": "16505551234",
    "business app echo": "16505551234",
    "echo": "US.13491208655302741918",
    "marketing stop": "US.13491208655302741918",
    "call": "16505551234",
    "errors alone": "",
    "history media": "",
    "template rejected": "",
    "group created": "",
}


@pytest.mark.parametrize(("sample", "person"), PEOPLE.items(), ids=PEOPLE)
def test_the_contact_is_the_user_id_or_else_the_phone(sample: str, person: str) -> None:
    """`contact_key` is a BSUID if one is known, or else the digits of the phone number.

    It is empty if the event is not about a person.
    """
    assert the_event(delivery(SAMPLES[sample])).contact_key == person


def test_the_plus_of_a_phone_number_is_dropped() -> None:
    """The plus of a phone number is dropped. A phone number with and without + is the same contact."""
    event = the_event(delivery(change(messages=[text_message("a", sender="+16505551234")])))
    assert event.contact_key == "16505551234"


def test_contacts_belong_to_messages_by_id_not_by_position() -> None:
    """Contacts are matched to messages by id and not by position.

    If the contacts are in another order than the messages, each message still gets its own contact.
    """
    contacts = [{"wa_id": "2", "user_id": "US.2"}, {"wa_id": "1", "user_id": "US.1"}]
    messages = [text_message("a", sender="1"), text_message("b", sender="2"), text_message("c", sender="3")]
    events = split(delivery(change(contacts=contacts, messages=messages)), default_number="default")
    assert [event.contact_key for event in events] == ["US.1", "US.2", "3"]
    assert [framed(event).get("contacts") for event in events] == [[contacts[1]], [contacts[0]], None]


def test_a_contact_of_another_person_is_not_used() -> None:
    """A contact of another person is not used for a message.

    This is also true if the value has only one contact and one message.
    """
    event = the_event(delivery(change(contacts=[{"wa_id": "2", "user_id": "US.2"}], messages=[text_message("a")])))
    assert event.contact_key == "16505551234"
    assert "contacts" not in framed(event)


def test_a_single_message_without_sender_belongs_to_the_single_contact() -> None:
    """If a value has one contact and one message that names no sender, the message belongs to this contact."""
    message = {"id": "a", "timestamp": "1", "type": "text", "text": {"body": "Hi"}}
    event = the_event(delivery(change(contacts=[{"user_id": "US.5"}], messages=[message])))
    assert event.contact_key == "US.5"


def test_a_message_without_a_sender_is_dead_on_arrival() -> None:
    """A message without a sender is kept with the problem `MissingSender`.

    It can be neither stored in a conversation nor answered.
    """
    event = the_event(
        delivery(change(messages=[{"id": "a", "timestamp": "1", "type": "text", "text": {"body": "Hi"}}]))
    )
    assert (event.kind, event.key, event.problem) == (EventKind.MESSAGE, "a", "MissingSender")


@pytest.mark.parametrize("sample", ["text", "status", "echo", "standby message", "history", "call", "marketing stop"])
def test_items_belong_to_the_number_in_the_metadata(sample: str) -> None:
    """`number_id` is the phone number id in the metadata. The route of the delivery does not matter."""
    assert the_event(delivery(SAMPLES[sample])).number_id == NUMBER


@pytest.mark.parametrize("sample", ["template rejected", "account restricted", "number quality", "unknown field"])
def test_account_fields_belong_to_the_account(sample: str) -> None:
    """Account fields belong to the account. Their events are stored under "waba:<id>", because they name no number."""
    assert the_event(delivery(SAMPLES[sample])).number_id == f"waba:{WABA}"


def test_without_metadata_the_route_decides_the_number() -> None:
    """A value without a number belongs to the number whose route received it."""
    assert the_event(delivery({"field": "messages", "value": {"messages": [text_message("a")]}})).number_id == "default"


@pytest.mark.parametrize(
    ("timestamp", "seconds"),
    [
        ("1750030073", 1750030073.0),
        (1750030073, 1750030073.0),
        ("", 0.0),
        ("yesterday", 0.0),
        ("-5", 0.0),
        ("1_0", 0.0),
        ("٣", 0.0),
        (-5, 0.0),
        (None, 0.0),
        (True, 0.0),
        ([], 0.0),
        ("9" * 400, 0.0),
        (10**300, 0.0),
        ("1750030073000", 0.0),
        (253402300800, 0.0),
    ],
    ids=lambda value: repr(value)[:16],
)
def test_a_time_stamp_is_seconds_or_nothing(timestamp: object, seconds: float) -> None:
    """A time stamp becomes seconds, or 0 if it is unusable.

    Any value gives a time that PostgreSQL and Python can represent.
    """
    event = the_event(delivery(change(messages=[text_message("a") | {"timestamp": timestamp}])))
    assert (event.occurred_at, event.problem) == (seconds, None)


def test_account_events_have_the_time_of_their_entry() -> None:
    """Account events have the time of their entry. `entry.time` is the time of a change to an account or template."""
    assert the_event(delivery(SAMPLES["template rejected"])).occurred_at == 1751247548.0


def test_the_payload_stands_alone() -> None:
    """A payload contains the metadata and one item, in Meta's shape. It contains nothing of other items."""
    first, second = text_message("a", "one"), text_message("b", "two")
    _, event = split(delivery(change(messages=[first, second])), default_number="default")
    assert json.loads(event.payload) == {
        "field": "messages",
        "value": {"messaging_product": "whatsapp", "metadata": METADATA, "messages": [second]},
    }


def test_the_item_is_kept_byte_for_byte() -> None:
    """The signed bytes of an item are stored unchanged.

    Blanks, escapes, number formats and the order of members stay the same.
    """
    item = b'{ "type":"text" ,"id":"a","from":"1","text":{"body":"\\u00e9\xc3\xa9\\/"},"x":1.50E+2 }'
    body = b'{"entry":[{"changes":[{"value":{"messages":[ %s ]},"field":"messages"}]}]}' % item
    assert item in the_event(body).payload


def test_errors_beside_the_only_message_belong_to_it() -> None:
    """Errors beside the only message of a value belong to that message. They do not become a separate event.

    If an interactive message has no body, the reason is in `value.errors`.
    """
    event = the_event(delivery(SAMPLES["interactive without a body"]))
    assert framed(event)["errors"][0]["code"] == 131000


def test_errors_beside_several_messages_are_events() -> None:
    """Errors beside several messages become a separate event, because they cannot be assigned to one message."""
    body = delivery(change(messages=[text_message("a"), text_message("b")], errors=[{"code": 1}]))
    assert [event.kind for event in split(body, default_number="default")] == ["message", "message", "error"]


def test_everything_in_one_value_is_an_event() -> None:
    """Messages and statuses in the same value all become events. Neither list hides the other."""
    body = delivery(change(messages=[text_message("a")], statuses=[{"id": "b", "status": "sent"}]))
    assert [event.key for event in split(body, default_number="default")] == ["a", "b:sent"]


def test_an_unknown_list_beside_known_ones_is_kept_separately() -> None:
    """A list that Meta adds to a value becomes an UNKNOWN event of the number, next to the messages."""
    body = delivery(change(messages=[text_message("a")], sightings=[{"id": 1}]))
    message, unknown = split(body, default_number="default")
    assert (message.key, unknown.kind, unknown.number_id) == ("a", EventKind.UNKNOWN, NUMBER)
    assert framed(unknown)["sightings"] == [{"id": 1}]


def test_an_unknown_member_of_a_value_stays_beside_its_items() -> None:
    """An unknown member of a value is kept with each item of the value, because it may be about any of them."""
    body = delivery(change(messages=[text_message("a"), text_message("b")], mood={"is": "good"}))
    assert [framed(event)["mood"] for event in split(body, default_number="default")] == [{"is": "good"}] * 2


def test_a_value_with_unknown_members_only_is_one_event() -> None:
    """A value that has unknown members and no items is one event."""
    event = the_event(delivery(change(mood="good")))
    assert (event.kind, framed(event)["mood"]) == (EventKind.UNKNOWN, "good")


def test_large_context_is_not_multiplied() -> None:
    """Large metadata, contacts and unknown members are not copied for each item of a value.

    They are copied beside each item only while they are small.
    """
    huge = "x" * 100_000
    messages = [text_message(f"w{index}") for index in range(100)]
    value = {"metadata": METADATA | {"note": huge}, "mood": huge, "messages": messages}
    value["contacts"] = [{"wa_id": "16505551234", "user_id": "US.1", "profile": {"name": huge}}]
    events = split(delivery({"field": "messages", "value": value}), default_number="default")
    assert sum(len(event.payload) for event in events) < 3 * len(huge)
    assert {(event.number_id, event.contact_key) for event in events[:100]} == {(NUMBER, "US.1")}


def test_standby_beside_messages_keeps_both_apart() -> None:
    """A standby list and the messages of the same value become different kinds of events.

    Items of another handler and our own items may share a value. An item never becomes an event of the other
    kind.
    """
    observed = {"messages": [text_message("theirs")]}
    events = split(delivery(change(messages=[text_message("ours")], standby=observed)), default_number="default")
    assert [(event.kind, event.key) for event in events] == [("message", "ours"), ("standby", "theirs")]


@pytest.mark.parametrize("nothing", [{}, {"messages": []}, {"messages": None, "statuses": []}])
def test_a_delivery_without_items_has_no_events(nothing: dict[str, Any]) -> None:
    """A delivery whose value has no items gives no events."""
    assert split(delivery(change(**nothing)), default_number="default") == []


def test_an_object_in_place_of_a_list_is_one_item() -> None:
    """`messages` as an object instead of a list counts as a list with one item."""
    assert the_event(delivery(change(messages=text_message("a")))).key == "a"


def test_the_same_item_twice_is_two_events_with_one_key() -> None:
    """If the same item is twice in a body, it gives two events with one key.

    The inbox drops duplicates within a body in the same way as duplicates in another delivery.
    """
    first, second = split(delivery(change(messages=[text_message("a")] * 2)), default_number="default")
    assert first == second


def test_batches_keep_their_order_over_entries_changes_and_items() -> None:
    """The events of a batch are in the order of the body.

    Here, two entries with two changes of two items each give eight events.
    """
    entries = [
        {
            "id": str(entry),
            "changes": [
                change(messages=[text_message(f"{entry}{number}{item}") for item in range(2)]) for number in range(2)
            ],
        }
        for entry in range(2)
    ]
    body = msgspec.json.encode({"object": "whatsapp_business_account", "entry": entries})
    keys = [event.key for event in split(body, default_number="default")]
    assert keys == ["000", "001", "010", "011", "100", "101", "110", "111"]
