"""A delivery becomes events: all of them, each with its own identity, each readable alone."""

import json

import msgspec
import pytest

from waypost.cloudapi.inbound.delivery import Event, EventKind, split

from .deliveries import METADATA, NUMBER, SAMPLES, WABA, change, delivery, text_message


def the_event(body: bytes) -> Event:
    """The only event of a delivery."""
    (event,) = split(body, default_number="default")
    return event


def framed(event: Event) -> dict:
    """The value that an event's payload frames."""
    return json.loads(event.payload)["value"]


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
def test_each_field_has_its_kind(sample, kind):
    """What an event is about follows from the field and the list that its item stands in."""
    assert the_event(delivery(SAMPLES[sample])).kind is kind


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_sample_is_dead_on_arrival(sample):
    """Nothing that Meta documents has a problem, known here or not."""
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
def test_what_has_an_id_is_known_by_it(sample, key):
    """A message and an echo by the wamid, a status by wamid and status."""
    assert the_event(delivery(SAMPLES[sample])).key == key


def test_statuses_of_a_group_are_told_apart_by_participant():
    """One message to a group has a status per participant; none is a duplicate of another."""
    events = split(delivery(SAMPLES["group statuses"]), default_number="default")
    assert [event.key for event in events] == ["wamid.OUT.5:read:16505551234", "wamid.OUT.5:read:16505555678"]


@pytest.mark.parametrize(
    "wamid", [None, "", 17, {"a": 1}, "wamid.\0", "wamid.\ud800", "w" * 5000], ids=lambda wamid: repr(wamid)[:20]
)
def test_an_id_that_is_no_key_gives_way_to_a_digest(wamid):
    """An id that is missing, or that an index or a text column would refuse, is no reason to lose the message."""
    event = the_event(delivery(change(messages=[text_message("x") | {"id": wamid}])))
    if wamid == 17:
        assert event.key == "17"
    else:
        assert len(event.key) == 32
        assert int(event.key, 16)
    assert event.problem is None


def test_the_digest_is_the_items_own():
    """The same item in another batch has the same key; another item has another."""
    first, second = {"timestamp": "1", "from": "1", "type": "text"}, {"timestamp": "2", "from": "1", "type": "text"}
    alone = the_event(delivery(change(messages=[first])))
    both = split(delivery(change(messages=[second, first])), default_number="default")
    assert [event.key == alone.key for event in both] == [False, True]


def test_the_same_account_event_at_another_time_is_another_event():
    """A template that is paused, reinstated and paused again was paused twice."""
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
def test_the_contact_is_the_user_id_or_else_the_phone(sample, person):
    """`contact_key` is a BSUID where one is known, from wherever, else digits, and empty where it is about no one."""
    assert the_event(delivery(SAMPLES[sample])).contact_key == person


def test_the_plus_of_a_phone_number_is_dropped():
    """The same person with and without + is the same contact."""
    event = the_event(delivery(change(messages=[text_message("a", sender="+16505551234")])))
    assert event.contact_key == "16505551234"


def test_contacts_belong_to_messages_by_id_not_by_place():
    """With the contacts in another order than the messages, each message is framed with its own."""
    contacts = [{"wa_id": "2", "user_id": "US.2"}, {"wa_id": "1", "user_id": "US.1"}]
    messages = [text_message("a", sender="1"), text_message("b", sender="2"), text_message("c", sender="3")]
    events = split(delivery(change(contacts=contacts, messages=messages)), default_number="default")
    assert [event.contact_key for event in events] == ["US.1", "US.2", "3"]
    assert [framed(event).get("contacts") for event in events] == [[contacts[1]], [contacts[0]], None]


def test_a_contact_of_somebody_else_is_not_lent():
    """The only contact of a value is not that of a message from another number."""
    event = the_event(delivery(change(contacts=[{"wa_id": "2", "user_id": "US.2"}], messages=[text_message("a")])))
    assert event.contact_key == "16505551234"
    assert "contacts" not in framed(event)


def test_a_lone_message_that_names_nobody_is_the_lone_contacts():
    """One contact, one message without any id: there is nobody else it could be from."""
    message = {"id": "a", "timestamp": "1", "type": "text", "text": {"body": "Hi"}}
    event = the_event(delivery(change(contacts=[{"user_id": "US.5"}], messages=[message])))
    assert event.contact_key == "US.5"


def test_a_message_from_nobody_is_dead_on_arrival():
    """It can be neither filed nor answered; it is kept with its reason."""
    event = the_event(
        delivery(change(messages=[{"id": "a", "timestamp": "1", "type": "text", "text": {"body": "Hi"}}]))
    )
    assert (event.kind, event.key, event.problem) == (EventKind.MESSAGE, "a", "MissingSender")


@pytest.mark.parametrize("sample", ["text", "status", "echo", "standby message", "history", "call", "marketing stop"])
def test_items_are_of_the_number_in_the_metadata(sample):
    """`number_id` is the phone number id, whichever route the delivery came by."""
    assert the_event(delivery(SAMPLES[sample])).number_id == NUMBER


@pytest.mark.parametrize("sample", ["template rejected", "account restricted", "number quality", "unknown field"])
def test_account_fields_are_of_the_account(sample):
    """Fields that name no number are filed under "waba:<id>"."""
    assert the_event(delivery(SAMPLES[sample])).number_id == f"waba:{WABA}"


def test_without_metadata_the_route_tells_the_number():
    """A value that names no number belongs to the number whose route it came by."""
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
def test_a_time_stamp_is_seconds_or_nothing(timestamp, seconds):
    """Whatever stands there, the result is a time that PostgreSQL and Python can hold."""
    event = the_event(delivery(change(messages=[text_message("a") | {"timestamp": timestamp}])))
    assert (event.occurred_at, event.problem) == (seconds, None)


def test_account_events_have_the_time_of_their_entry():
    """`entry.time` is when an account or template field changed."""
    assert the_event(delivery(SAMPLES["template rejected"])).occurred_at == 1751247548.0


def test_the_payload_stands_alone():
    """A payload has the metadata and the one item, in Meta's shape, and nothing of its neighbours."""
    first, second = text_message("a", "one"), text_message("b", "two")
    _, event = split(delivery(change(messages=[first, second])), default_number="default")
    assert json.loads(event.payload) == {
        "field": "messages",
        "value": {"messaging_product": "whatsapp", "metadata": METADATA, "messages": [second]},
    }


def test_the_item_is_kept_byte_for_byte():
    """Blanks, escapes, number formats and the order of members survive, for what was signed is what is kept."""
    item = b'{ "type":"text" ,"id":"a","from":"1","text":{"body":"\\u00e9\xc3\xa9\\/"},"x":1.50E+2 }'
    body = b'{"entry":[{"changes":[{"value":{"messages":[ %s ]},"field":"messages"}]}]}' % item
    assert item in the_event(body).payload


def test_errors_beside_the_only_message_are_its_own():
    """An interactive message without a body comes with the reason in `value.errors`: one event, not two."""
    event = the_event(delivery(SAMPLES["interactive without a body"]))
    assert framed(event)["errors"][0]["code"] == 131000


def test_errors_beside_several_messages_are_events():
    """With two messages nobody can say whose the error is; it is kept apart."""
    body = delivery(change(messages=[text_message("a"), text_message("b")], errors=[{"code": 1}]))
    assert [event.kind for event in split(body, default_number="default")] == ["message", "message", "error"]


def test_everything_in_one_value_is_an_event():
    """Messages and statuses share a value at times; neither hides the other."""
    body = delivery(change(messages=[text_message("a")], statuses=[{"id": "b", "status": "sent"}]))
    assert [event.key for event in split(body, default_number="default")] == ["a", "b:sent"]


def test_an_unknown_list_beside_known_ones_is_kept_apart():
    """A list that Meta adds to a value one day becomes an UNKNOWN event of the number, next to the messages."""
    body = delivery(change(messages=[text_message("a")], sightings=[{"id": 1}]))
    message, unknown = split(body, default_number="default")
    assert (message.key, unknown.kind, unknown.number_id) == ("a", EventKind.UNKNOWN, NUMBER)
    assert framed(unknown)["sightings"] == [{"id": 1}]


def test_an_unknown_member_of_a_value_stays_beside_its_items():
    """A single value that Meta adds is kept with each item that it may be about."""
    body = delivery(change(messages=[text_message("a"), text_message("b")], mood={"is": "good"}))
    assert [framed(event)["mood"] for event in split(body, default_number="default")] == [{"is": "good"}] * 2


def test_a_value_with_unknown_members_only_is_one_event():
    """Where there is no item to stand beside, the value itself is the event."""
    event = the_event(delivery(change(mood="good")))
    assert (event.kind, framed(event)["mood"]) == (EventKind.UNKNOWN, "good")


def test_large_context_is_not_multiplied():
    """Metadata, contacts and unknown members are copied beside each item only while they are small."""
    huge = "x" * 100_000
    messages = [text_message(f"w{index}") for index in range(100)]
    value = {"metadata": METADATA | {"note": huge}, "mood": huge, "messages": messages}
    value["contacts"] = [{"wa_id": "16505551234", "user_id": "US.1", "profile": {"name": huge}}]
    events = split(delivery({"field": "messages", "value": value}), default_number="default")
    assert sum(len(event.payload) for event in events) < 3 * len(huge)
    assert {(event.number_id, event.contact_key) for event in events[:100]} == {(NUMBER, "US.1")}


def test_standby_beside_messages_keeps_each_in_its_place():
    """What another handler owns and what is ours may come in one value; neither becomes the other."""
    observed = {"messages": [text_message("theirs")]}
    events = split(delivery(change(messages=[text_message("ours")], standby=observed)), default_number="default")
    assert [(event.kind, event.key) for event in events] == [("message", "ours"), ("standby", "theirs")]


@pytest.mark.parametrize("nothing", [{}, {"messages": []}, {"messages": None, "statuses": []}])
def test_nothing_in_nothing_out(nothing):
    """A value without items has no events."""
    assert split(delivery(change(**nothing)), default_number="default") == []


def test_one_item_where_a_list_is_due_is_that_item():
    """`messages` as an object instead of a list is read as a list of one."""
    assert the_event(delivery(change(messages=text_message("a")))).key == "a"


def test_the_same_item_twice_is_two_events_with_one_key():
    """Duplicates within a body are the inbox's to drop, as are those of another delivery."""
    first, second = split(delivery(change(messages=[text_message("a")] * 2)), default_number="default")
    assert first == second


def test_batches_keep_their_order_over_entries_changes_and_items():
    """Two accounts, two changes each, two items each: eight events in the order of the body."""
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
