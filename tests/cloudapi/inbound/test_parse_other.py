"""Events that are not customers' messages become records.

They are statuses, echoes, history and updates of the account.
"""

from typing import Any

import pytest

from waypost.cloudapi.inbound import bodies, records, updates
from waypost.cloudapi.inbound.delivery import EventKind, parse, split
from waypost.cloudapi.inbound.fields import WHOLE_VALUE_KINDS
from waypost.cloudapi.inbound.records import Fault, Identity

from .deliveries import NUMBER, WABA, change, delivery
from .parsed import body_of, first_of, sample_of


def test_a_status_is_read() -> None:
    """The record of a status has what is needed to settle an outbox row.

    It has the message, the status, our own id and the price.
    """
    record = sample_of(records.InboundStatus, "status")
    assert (record.number_id, record.wamid, record.status) == (NUMBER, "wamid.OUT.1", "delivered")
    assert (record.callback_data, record.occurred_at) == ("5a0e9c1e", 1750030074.0)
    assert record.recipient == Identity("16505551234", "US.13491208655302741918")
    assert (record.pricing_category, record.pricing_type, record.billable) == ("utility", "regular", True)
    assert (record.error_code, record.errors) == (None, ())


def test_a_status_may_have_a_conversation() -> None:
    """The conversation of a status is read. Since v24.0, Meta sends it only in a free entry point window."""
    record = sample_of(records.InboundStatus, "status with a conversation")
    assert (record.conversation_id, record.conversation_origin) == ("6ceb9d92", "referral_conversion")
    assert record.conversation_expires_at == 1750116474.0


def test_a_failed_status_needs_no_contacts() -> None:
    """A failed status needs no contacts. Recipient, code and title are in the status itself."""
    record = sample_of(records.InboundStatus, "failed status")
    assert (record.status, record.error_code) == ("failed", 131049)
    assert record.error_title == "This message was not delivered to maintain healthy ecosystem engagement."
    assert record.recipient == Identity("16505551234", None)


def test_the_title_of_an_error_contains_no_number() -> None:
    """The title of an error contains no phone number, because people read the title."""
    item = {
        "id": "a",
        "status": "failed",
        "errors": [{"code": 1, "title": "Cannot reach +1 650-555-1234 (16505551234)"}],
    }
    assert first_of(records.InboundStatus, change(statuses=[item])).error_title == "Cannot reach … (…)"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ({"code": "131026", "title": "T"}, Fault(131026, "T")),
        ({"code": 2**40}, Fault(None)),
        ({"code": None, "message": "M"}, Fault(None, "M", "M")),
        ({"code": 1, "title": 5, "error_data": "text"}, Fault(1, None, "text")),
        ({"code": True}, Fault(None)),
        ({}, Fault(None)),
    ],
    ids=str,
)
def test_an_error_of_another_shape_is_still_an_error(error: dict[str, Any], fault: Fault) -> None:
    """An error of an unexpected shape is still an error. Its code is None or a number that fits the column."""
    item = {"id": "a", "status": "failed", "errors": [error]}
    assert first_of(records.InboundStatus, change(statuses=[item])).errors == (fault,)


def test_a_status_in_a_group_has_group_and_participant() -> None:
    """A status in a group has the group and the participant. Each participant has a separate status."""
    record = sample_of(records.InboundStatus, "group statuses")
    assert (record.group_id, record.recipient) == ("Y2FwaV9ncm91cDox", Identity("16505551234", None))


@pytest.mark.fault("D9")
def test_an_unknown_status_is_kept_and_noted() -> None:
    """A status with an unknown value is kept, and the value is noted. It is not treated as an error."""
    record = sample_of(records.InboundStatus, "unknown status")
    assert (record.status, record.unknown) == ("pondered", ("statuses.status=pondered",))


def test_errors_alone_are_an_error_of_the_number() -> None:
    """Errors without a message are recorded as an error of the number.

    Such an error is about the system, the app or the account.
    """
    assert sample_of(records.ReportedError, "errors alone") == records.ReportedError(
        number_id=NUMBER, errors=(Fault(130429, "Rate limit hit", "Too many"),)
    )


@pytest.mark.parametrize("name", ["business app echo", "echo"])
def test_an_echo_belongs_to_its_recipient(name: str) -> None:
    """An echo belongs to the conversation of its recipient.

    The echo is a message that a person wrote to a customer by other means than Waypost. Its `to` identifies the
    conversation.
    """
    record = sample_of(records.Echo, name)
    assert record.recipient.wa_id == "16505551234"


STANDBY = {
    "standby message": records.InboundMessage,
    "standby echo": records.Echo,
    "standby status": records.InboundStatus,
}


@pytest.mark.parametrize(("name", "type_"), STANDBY.items(), ids=STANDBY)
def test_standby_wraps_the_observed_item(name: str, type_: type[records.Record]) -> None:
    """The record of a standby event contains the observed item.

    An item of another handler has its own type of record, so it cannot be mistaken for one of ours.
    """
    record = sample_of(records.Standby, name)
    assert isinstance(record.observed, type_)
    assert record.contact.wa_id == "16505551234"
    assert record.number_id == NUMBER


@pytest.mark.parametrize("value", [5, None, [], {"sightings": [1]}, {"mood": "good"}])
def test_standby_of_another_shape_stays_standby(value: object) -> None:
    """A standby event of any shape stays a standby event, because it must not be answered."""
    (event,) = split(delivery(change("standby", standby=value)), default_number="default")
    record = parse(event.payload)
    assert isinstance(record, records.Standby)
    assert record.contact.key == ""


def test_history_says_who_wrote() -> None:
    """The record of a history says who wrote each message.

    Threads are flattened. Each message has its customer and its direction.
    """
    record = sample_of(records.History, "history")
    assert (record.phase, record.chunk_order, record.progress) == (0, 1, 55)
    assert [(one.wamid, one.from_business, one.status, one.text) for one in record.messages] == [
        ("wamid.OLD.1", False, "READ", "Do you deliver?"),
        ("wamid.OLD.2", True, "DELIVERED", "Yes"),
    ]
    assert {one.contact for one in record.messages} == {Identity("16505551234", None)}


def test_history_may_be_declined() -> None:
    """The record of a declined history has an error with the reason. The business did not share the history."""
    assert sample_of(records.History, "history declined").errors[0].code == 2593109


def test_media_of_history_comes_after_it() -> None:
    """The media of a history comes in a later delivery.

    The message in this test is ours, because its sender is our own number.
    """
    (one,) = sample_of(records.History, "history media").messages
    media_id = body_of(bodies.MediaBody, one.content).id
    assert (one.from_business, one.contact, media_id) == (True, Identity("16505551234", None), "1003383421387256")


def test_a_marketing_stop_is_a_preference() -> None:
    """A marketing stop is recorded as a preference. It is an opt-out that the contact did not send to the bot."""
    record = sample_of(records.Preference, "marketing stop")
    assert (record.value, record.category) == ("stop", "marketing_messages")
    assert record.contact == Identity("16505551234", "US.13491208655302741918")


def test_a_contact_sync_has_the_action() -> None:
    """The record of a contact sync has the action.

    A contact sync is about an entry in the address book of the WhatsApp Business app.
    """
    record = sample_of(records.ContactSync, "contact sync")
    assert (record.action, record.full_name, record.contact) == ("add", "Ada Lovelace", Identity("16505551234", None))
    assert record.occurred_at == 1739321024.0


def test_calls_have_an_event_and_a_length() -> None:
    """The record of a call has an event and a length. A call opens the customer service window, as a message does."""
    call, status = sample_of(records.Call, "call"), sample_of(records.Call, "call status")
    assert (call.call_id, call.event, call.duration_s, call.contact.wa_id) == (
        "wacid.1",
        "terminate",
        95.0,
        "16505551234",
    )
    assert (status.call_id, status.event, status.contact.wa_id) == ("wacid.2", "RINGING", "16505551234")


def test_our_own_call_belongs_to_the_customer() -> None:
    """A call by the business belongs to the conversation with the customer. In such a call, `to` is the customer."""
    item = {"id": "wacid.3", "from": "15550783881", "to": "16505551234", "direction": "BUSINESS_INITIATED"}
    assert first_of(records.Call, change("calls", calls=[item])).contact == Identity("16505551234", None)


def test_a_group_update_belongs_to_the_group() -> None:
    """The record of a group update has the group and the change. The rest is kept as plain values."""
    record = sample_of(records.GroupUpdate, "group created")
    assert (record.group_id, record.type, record.content["subject"]) == ("Y2FwaV9ncm91cDox", "group_create", "Walkers")


def test_a_template_update_says_what_changed() -> None:
    """The record of a template update says what changed.

    Updates of status, category and quality share one type of record. Unchanged parts are None.
    """
    rejected, quality, category = (
        sample_of(records.TemplateUpdate, "template rejected"),
        sample_of(records.TemplateUpdate, "template quality"),
        sample_of(records.TemplateUpdate, "template category"),
    )
    assert (rejected.template_id, rejected.name, rejected.event) == (
        "1689556908129832",
        "order_confirmation",
        "REJECTED",
    )
    assert (rejected.reason, rejected.waba_id, rejected.quality) == ("INVALID_FORMAT", WABA, None)
    assert (quality.quality, quality.previous_quality, quality.event) == ("YELLOW", "GREEN", None)
    assert (category.category, category.impending_category) == ("UTILITY", "MARKETING")
    assert category.category_changes_at == 1746169200.0


CONTENTS = {
    "account restricted": updates.AccountChange,
    "account alert": updates.AccountAlert,
    "account reviewed": updates.AccountReview,
    "account settings": updates.AccountSettings,
    "capability": updates.BusinessCapability,
    "username": updates.BusinessUsername,
    "usernames": updates.BusinessUsername,
    "number quality": updates.PhoneNumberQuality,
    "number name": updates.PhoneNumberName,
    "pin reset": updates.Security,
    "flow alert": updates.FlowUpdate,
    "partner solution": updates.PartnerSolution,
    "payment configuration": updates.PaymentConfiguration,
}


@pytest.mark.parametrize(("name", "type_"), CONTENTS.items(), ids=CONTENTS)
def test_account_fields_have_their_shapes(name: str, type_: type[updates.Update]) -> None:
    """The value of each documented account field is parsed into the type for this field."""
    record = sample_of(records.AccountUpdate, name)
    assert isinstance(record.content, type_)


def test_every_account_field_has_a_shape() -> None:
    """Every account field has a type. The table of fields and the table of types agree."""
    assert {field for field, kind in WHOLE_VALUE_KINDS.items() if kind is EventKind.ACCOUNT} == set(updates.UPDATES)


def test_an_account_field_of_another_shape_is_kept_and_noted() -> None:
    """An account field of an unexpected shape is kept as plain values, and the shape is noted.

    For example, Meta may change `event` to a list.
    """
    record = first_of(records.AccountUpdate, {"field": "account_update", "value": {"event": ["A"], "new": 1}})
    assert record.content == {"event": ["A"], "new": 1}
    assert "account_update.value:shape" in record.unknown
    assert "account_update.value.new" in record.unknown


@pytest.mark.fault("D9")
@pytest.mark.parametrize("value", [{"thought": "hm"}, [1], "hm", 5, None])
def test_an_unknown_field_is_kept_and_noted(value: object) -> None:
    """An unknown field is stored and counted, and has no effect. Its value may be anything."""
    record = first_of(records.Unrecognised, {"field": "telepathy_update", "value": value})
    assert (record.field, record.content) == ("telepathy_update", value)
    assert "field=telepathy_update" in record.unknown


@pytest.mark.fault("D9")
def test_an_unknown_list_is_kept_and_noted() -> None:
    """An unknown list is kept and noted. Meta may add a list to the field messages."""
    record = first_of(records.Unrecognised, change(sightings=[{"id": 1}]))
    assert (record.number_id, record.unknown) == (NUMBER, ("value.sightings",))
    assert record.content["sightings"] == [{"id": 1}]
