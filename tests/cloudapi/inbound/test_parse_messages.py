"""Messages that people sent become records.

A record has a type, belongs to a person, and has the text that a person would read.
"""

import json
from typing import Any

import pytest

from waypost.cloudapi.inbound import bodies, records
from waypost.cloudapi.inbound.delivery import parse, split
from waypost.cloudapi.inbound.records import Fault, Identity, InboundMessage

from .deliveries import NUMBER, SAMPLES, change, delivery, text_message
from .parsed import body_of, first_of, first_record, sample_of

ADA = Identity("16505551234", "US.13491208655302741918", "US.ENT.11815799212886844830")


def sample(name: str) -> InboundMessage:
    """Returns the record of the message in a sample."""
    return sample_of(InboundMessage, name)


def read(*changes: dict[str, Any]) -> InboundMessage:
    """Makes a delivery of these changes and returns the record of its first message."""
    return first_of(InboundMessage, *changes)


def message(type_: str, body: object, **more: object) -> InboundMessage:
    """Returns the record of a message with this type and body."""
    item = {"from": "1", "id": "wamid.x", "timestamp": "1", "type": type_, type_: body}
    return read(change(messages=[item | more]))


@pytest.mark.parametrize("name", [name for name in SAMPLES if not name.startswith(("unknown", "handover"))])
def test_everything_that_meta_documents_is_recognised(name: str) -> None:
    """No member, type or value that Meta documents is treated as unknown."""
    for event in split(delivery(SAMPLES[name]), default_number="default"):
        record = parse(event.payload)
        assert record.unknown == ()
        assert not isinstance(record, records.Unrecognised)


def test_a_text_message_is_read() -> None:
    """The record of a text message has sender, time and content."""
    record = sample("text")
    assert (record.number_id, record.wamid, record.type) == (NUMBER, "wamid.IN.text", "text")
    assert (record.sender, record.profile_name, record.username) == (ADA, "Ada", "ada.l")
    assert record.occurred_at == 1750030073.0
    assert record.text == "Does it come in another colour?"
    assert record.content == bodies.TextBody(body=record.text)


TEXTS = {
    "image": "Taj Mahal",
    "video": "A dance",
    "audio": None,
    "document": "The invoice",
    "sticker": None,
    "location": "Main Street Beach, Main Street",
    "bare location": "37.5, -122.1",
    "contacts": "Barbara J. Johnson, Ben",
    "button reply": "Cancel",
    "list reply": "Priority Mail Express",
    "flow reply": "Sent",
    "call permission reply": "accept",
    "template button": "Unsubscribe",
    "reaction": "👍",
    "reaction taken back": None,
    "order": "Gift wrapped, please",
    "order without words": "2 × di9ozbzfi4, 1 × nqryix03ez",
    "edit": "Does it come in green?",
    "revoke": None,
    "unsupported": None,
    "request welcome": None,
    "interactive without a body": None,
    "changed user id": "Ada changed their user id",
    "business app echo": "I will call you",
    "echo": "Our shop",
}


@pytest.mark.parametrize(("name", "text"), TEXTS.items(), ids=TEXTS)
def test_the_text_is_what_a_person_would_read(name: str, text: str | None) -> None:
    """The text of a record is the text that a list of messages would show.

    Depending on the type of the message, this is the body, caption, title, emoji or place name.
    """
    record = first_record(SAMPLES[name])
    assert isinstance(record, InboundMessage | records.Echo)
    assert record.text == text


BUTTONS = {
    "button reply": "cancel-button",
    "list reply": "priority_express",
    "template button": "UNSUBSCRIBE",
    "flow reply": None,
    "text": None,
}


@pytest.mark.parametrize(("name", "button"), BUTTONS.items(), ids=BUTTONS)
def test_a_selected_option_is_identified_by_its_id(name: str, button: str | None) -> None:
    """The id of a selected option is always in the field `button_id`.

    The option may be a button, a list row or a template button.
    """
    assert sample(name).button_id == button


def test_media_has_what_is_needed_to_fetch_it() -> None:
    """The content of a document has what is needed to fetch it: id, type, name and hash."""
    content = sample("document").content
    assert isinstance(content, bodies.MediaBody)
    assert (content.id, content.mime_type, content.filename) == ("1003383421387256", "application/pdf", "invoice.pdf")
    assert content.sha256
    assert content.url


@pytest.mark.parametrize("name", ["audio", "voice"])
def test_a_voice_message_has_two_spellings(name: str) -> None:
    """A voice message is read in both spellings: `type: voice`, and `type: audio` with `voice: true`."""
    assert isinstance(sample(name).content, bodies.MediaBody)


def test_a_form_is_read_from_its_json_text() -> None:
    """The answers of a form are parsed from `response_json`, which is JSON in a string. They are in `response`."""
    reply = body_of(bodies.InteractiveBody, sample("flow reply").content).nfm_reply
    assert reply is not None
    assert reply.response == {"flow_token": "t", "size": "L"}


@pytest.mark.parametrize("text", ["", "{", "[]", "NaN", "[" * 100_000, '{"a":NaN}'], ids=lambda text: text[:10])
def test_a_form_that_is_not_a_json_object_is_none(text: str) -> None:
    """If the response of a form is not a JSON object, `response` is None.

    A form can send any text. `parse` never raises an error for it.
    """
    record = message("interactive", {"type": "nfm_reply", "nfm_reply": {"name": "flow", "response_json": text}})
    reply = body_of(bodies.InteractiveBody, record.content).nfm_reply
    assert reply is not None
    assert reply.response is None


def test_a_form_is_fit_for_the_database() -> None:
    """The content of a form can be stored in the database. Escapes inside the inner JSON are replaced too."""
    record = message("interactive", {"type": "nfm_reply", "nfm_reply": {"response_json": '{"a":"\\u0000\\ud800"}'}})
    reply = body_of(bodies.InteractiveBody, record.content).nfm_reply
    assert reply is not None
    assert reply.response == {"a": "\ufffd\ufffd"}


def test_contact_cards_are_typed() -> None:
    """Contact cards have types. Each card has names, phones, mail addresses and an origin."""
    cards = sample("contacts").content
    assert isinstance(cards, tuple)
    barbara, ben = cards
    assert (barbara.phones[0].wa_id, barbara.emails[0].email, barbara.origin) == (
        "19405551234",
        "bjohnson@example.com",
        "contact_request",
    )
    assert ben.phones == ()


def test_an_order_has_its_products() -> None:
    """The products of an order are read. Their quantity and price are numbers."""
    (item,) = body_of(bodies.OrderBody, sample("order").content).product_items
    assert (item.product_retailer_id, item.quantity, item.item_price, item.currency) == ("di9ozbzfi4", 2, 7.99, "USD")


def test_edit_and_revoke_name_the_original() -> None:
    """The record of an edit or a revoke has the id of the original message, which is already known."""
    assert body_of(bodies.EditBody, sample("edit").content).original_message_id == "wamid.IN.text"
    assert body_of(bodies.RevokeBody, sample("revoke").content).original_message_id == "wamid.IN.text"


def test_an_edit_in_an_edit_in_an_edit_is_read_once() -> None:
    """If edits are nested in each other, only the outermost edit is read."""
    body = {"original_message_id": "a", "message": {"type": "edit", "edit": {"message": {"type": "text"}}}}
    assert message("edit", body).text is None


def test_an_unsupported_message_has_a_reason() -> None:
    """The record of an unsupported message has the reason and the real type."""
    record = sample("unsupported")
    assert (body_of(bodies.UnsupportedBody, record.content).type, record.errors[0].code) == ("poll_creation", 131051)


def test_errors_of_the_value_belong_to_its_only_message() -> None:
    """If a value has errors and only one message, the errors belong to this message.

    An interactive message may arrive without a body. The reason is then beside the message.
    """
    assert sample("interactive without a body").errors == (
        Fault(131000, "Something went wrong", "Something went wrong"),
    )


def test_a_reply_names_what_it_replies_to() -> None:
    """A reply names the message that it replies to. `context` gives the wamid and the author of that message."""
    record = sample("reply")
    assert (record.context_wamid, record.context_from) == ("wamid.OUT.7", Identity("15550783881", None))


def test_forwarding_products_and_ads_are_recorded() -> None:
    """The record of a message says whether it was forwarded, and which product or ad it is about.

    Every part of `context` and `referral` has its field.
    """
    assert (sample("forwarded").forwarded, sample("forwarded").frequently_forwarded) == (True, True)
    product, referral = sample("about a product").referred_product, sample("from an ad").referral
    assert product is not None
    assert product["product_retailer_id"] == "di9ozbzfi4"
    assert referral is not None
    assert referral.ctwa_clid == "Aff-n8ZTODiE79d22KtAwQKj9e"
    assert not sample("text").forwarded


def test_a_group_message_is_from_the_participant() -> None:
    """A group message belongs to the conversation of the participant. The record also has the group."""
    record = sample("group message")
    assert record.sender == ADA
    assert record.group_id is not None
    assert record.group_id.startswith("Y2FwaV9ncm91cDox")


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("known by user id only", Identity(None, "US.77")),
        ("user id in the place of the phone", Identity(None, "US.77")),
    ],
)
def test_a_user_without_a_phone_is_identified_by_the_user_id(name: str, identity: Identity) -> None:
    """A user without a phone number is identified by the user id.

    Users with a username may have no phone number. In some deliveries, the user id is in the field for the phone
    number.
    """
    record = sample(name)
    assert (record.sender, record.profile_name) == (identity, "Grace")


def test_the_contact_adds_what_the_message_lacks() -> None:
    """If a message lacks one of the sender's ids, its contact adds this id.

    A message that has only a phone number gets the user id. A message that has only a user id gets the phone
    number.
    """
    contact = {"wa_id": "16505551234", "user_id": "US.9"}
    by_phone = read(change(contacts=[contact], messages=[text_message("a")]))
    by_user = {"from_user_id": "US.9", "id": "b", "timestamp": "1", "type": "text", "text": {"body": "Hi"}}
    by_user_id = read(change(contacts=[contact], messages=[by_user]))
    assert by_phone.sender == by_user_id.sender == Identity("16505551234", "US.9")


def test_a_changed_number_names_both() -> None:
    """If a person gets another phone number, the record has both numbers.

    The conversation exists under the old number. It continues under the new number.
    """
    record = sample("changed number")
    assert (record.changed_from, record.changed_to) == (Identity("16505551234", None), Identity("12195555358", None))


def test_the_older_spelling_of_a_changed_number_is_recognised() -> None:
    """A changed number is also recognised in the older spelling: `new_wa_id` instead of `wa_id`."""
    record = message("system", {"type": "user_changed_number", "new_wa_id": "2"})
    assert (record.changed_from, record.changed_to) == (Identity("1", None), Identity("2", None))


def test_a_changed_user_id_names_both() -> None:
    """The record of a changed user id names both ids. Here, neither the old nor the new identity has a phone."""
    record = sample("changed user id")
    assert (record.changed_from, record.changed_to) == (Identity(None, "US.1000"), Identity(None, "US.2000"))
    assert record.sender == Identity(None, "US.1000")


def test_other_system_messages_change_no_identity() -> None:
    """Other system messages change no identity. For example, an identity check does not give a new identity."""
    record = message("system", {"type": "customer_identity_changed", "identity": "x", "customer": "1"})
    assert (record.changed_from, record.changed_to) == (None, None)


@pytest.mark.fault("D9")
def test_an_unknown_type_is_kept_and_noted() -> None:
    """A message of an unknown type is kept, and its type is noted.

    For example, a poll is a message too. Its content is kept as plain values.
    """
    record = sample("unknown type")
    assert (record.type, record.text, record.sender) == ("poll", None, ADA)
    assert record.content == {"question": "Tea or coffee?", "options": ["Tea", "Coffee"]}
    assert record.unknown == ("messages.type=poll",)


@pytest.mark.fault("D9")
def test_unknown_members_are_noted_wherever_they_are() -> None:
    """Unknown members are noted in the value, the message, its context, its contact and its body."""
    item = text_message("a") | {"mood": 1, "context": {"id": "b", "tone": 2}, "text": {"body": "Hi", "font": 3}}
    contact = {"wa_id": "16505551234", "hat": 4, "profile": {"name": "Ada", "age": 5}}
    record = read(change(messages=[item], contacts=[contact], weather={"is": "fine"}))
    assert set(record.unknown) == {
        "value.weather",
        "messages.mood",
        "messages.context.tone",
        "messages.text.font",
        "contacts.hat",
        "contacts.profile.age",
    }
    assert record.text == "Hi"


def test_notes_contain_no_data_of_a_user() -> None:
    """The notes about unknown names contain no data of a user, because they go to metrics and logs.

    A name that Meta cannot have chosen is replaced by a question mark.
    """
    record = read(change(messages=[text_message("a") | {"call me on 16505551234": 1, "type": "my secret, 1234"}]))
    assert set(record.unknown) == {"messages.?", "messages.type=?", "messages.text"}


@pytest.mark.parametrize(
    ("type_", "body", "text"),
    [
        ("text", "Hello", "Hello"),
        ("text", {"body": 5}, None),
        ("image", {"id": 7, "caption": "A cat"}, "A cat"),
        ("location", {"latitude": "far", "longitude": 2}, None),
        ("interactive", {"type": "button_reply", "button_reply": "yes"}, None),
        ("contacts", {"name": "Ada"}, None),
        ("reaction", [], None),
    ],
)
def test_a_body_of_another_shape_is_kept_and_noted(type_: str, body: object, text: str | None) -> None:
    """If the body of a known type has an unexpected shape, the message is still read.

    Its content is kept as plain values, and the unexpected shape is noted.
    """
    record = message(type_, body)
    assert record.content == (body if isinstance(body, dict) else {type_: body})
    assert record.text == text
    assert f"messages.{type_}:shape" in record.unknown


def test_numbers_written_as_text_are_numbers() -> None:
    """Numbers that are written as text are read as numbers. For example, a latitude in quotes is accepted."""
    record = message("location", {"latitude": "1.5", "longitude": "2"})
    assert body_of(bodies.LocationBody, record.content).latitude == 1.5


@pytest.mark.parametrize("name", ["context", "referral", "errors"])
@pytest.mark.parametrize("value", [5, "x", [], {}, None, [5], {"id": {}}])
def test_members_beside_the_body_may_have_any_shape(name: str, value: object) -> None:
    """The text of a message is read even if the members beside its body have an unexpected shape."""
    assert message("text", {"body": "Hi"}, **{name: value}).text == "Hi"


def test_a_message_without_a_sender_is_refused() -> None:
    """A message without a sender is refused. A replay gives the same reason as the first delivery."""
    item = {"id": "a", "timestamp": "1", "type": "text", "text": {"body": "Hi"}}
    with pytest.raises(records.UnreadableEvent) as refusal:
        read(change(messages=[item]))
    assert refusal.value.reason == "MissingSender"


PAYLOADS = {
    "nothing": b"",
    "no JSON": b"hello",
    "a whole delivery": delivery(SAMPLES["text"]),
    "no value": b'{"field":"messages"}',
    "a value that is a list": b'{"field":"messages","value":[]}',
    "an item that is a number": b'{"field":"messages","value":{"messages":[5]}}',
    "NaN": b'{"field":"messages","value":{"messages":[{"from":"1","secret":NaN}]}}',
    "invalid UTF-8": b'{"field":"messages","value":{"messages":[{"from":"1","type":"\xff"}]}}',
    "too deep": b'{"field":"messages","value":{"messages":[' + b"[" * 100_000,
    "too deep, complete": b'{"field":"x","value":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_the_error_of_an_unreadable_payload_reveals_nothing(payload: bytes) -> None:
    """The error for an unreadable payload quotes nothing of the payload, and neither does its cause.

    `UnreadableEvent` is the only error that `parse` raises.
    """
    with pytest.raises(records.UnreadableEvent) as refusal:
        parse(payload)
    assert refusal.value.reason == "InvalidPayload"
    assert "secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (b"a\\u0000b", "a\ufffdb"),
        (b"a\\ud83d", "a\ufffd"),
        (b"\\ude00a", "\ufffda"),
        (b"\\ud83d\\ude00", "😀"),
        (b"\\uD83D\\uDE00\\uD83D", "😀\ufffd"),
        (b"\\ud83d\\ud83d\\ude00", "\ufffd😀"),
        (b"\\\\u0000", "\\u0000"),
        (b"\\\\\\u0000", "\\\ufffd"),
        (b"\\\\ud800", "\\ud800"),
        (b"\\n\\u00e9", "\né"),
    ],
    ids=str,
)
def test_text_is_fit_for_the_database(written: bytes, stored: str) -> None:
    """The text of a message can be stored in the database.

    U+0000 and halves of surrogate pairs become U+FFFD. A text that only looks like their escapes stays as it is.
    """
    payload = b'{"field":"messages","value":{"messages":[{"from":"1","type":"text","text":{"body":"%s"}}]}}' % written
    record = parse(payload)
    assert isinstance(record, InboundMessage)
    assert record.text == stored


def test_numbers_beyond_64_bits_cost_nothing() -> None:
    """Numbers beyond 64 bits become text, and the message is still read."""
    payload = b'{"field":"messages","value":{"messages":[{"from":"1","type":"poll","poll":{"n":%s,"x":1e999}}]}}'
    record = parse(payload % (b"9" * 5000))
    assert isinstance(record, InboundMessage)
    assert record.content == {"n": "9" * 5000, "x": "1e999"}
    assert json.dumps(record.content, allow_nan=False)
