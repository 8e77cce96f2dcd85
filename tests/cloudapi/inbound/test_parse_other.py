"""The worker's view of everything that is no customer's message: statuses, echoes, history, and the account."""

import pytest

from waypost.cloudapi.inbound import records, updates
from waypost.cloudapi.inbound.delivery import parse, split
from waypost.cloudapi.inbound.records import Fault, Identity

from .deliveries import NUMBER, SAMPLES, WABA, change, delivery


def read(*changes):
    """The record of the first event of a delivery of these changes."""
    return parse(split(delivery(*changes), default_number="default")[0].payload)


def sample(name):
    """The record of a sample."""
    return read(SAMPLES[name])


def test_a_status_is_read():
    """What settles an outbox row: which message, how far, our own id, and what it cost."""
    record = sample("status")
    assert isinstance(record, records.InboundStatus)
    assert (record.number_id, record.wamid, record.status) == (NUMBER, "wamid.OUT.1", "delivered")
    assert (record.callback_data, record.occurred_at) == ("5a0e9c1e", 1750030074.0)
    assert record.recipient == Identity("16505551234", "US.13491208655302741918")
    assert (record.pricing_category, record.pricing_type, record.billable) == ("utility", "regular", True)
    assert (record.error_code, record.errors) == (None, ())


def test_a_status_may_tell_of_its_conversation():
    """Only in a free entry point window, since v24.0."""
    record = sample("status with a conversation")
    assert (record.conversation_id, record.conversation_origin) == ("6ceb9d92", "referral_conversion")
    assert record.conversation_expires_at == 1750116474.0


def test_a_failed_status_needs_no_contacts():
    """Recipient, code and title are in the status itself."""
    record = sample("failed status")
    assert (record.status, record.error_code) == ("failed", 131049)
    assert record.error_title == "This message was not delivered to maintain healthy ecosystem engagement."
    assert record.recipient == Identity("16505551234", None)


def test_the_title_of_an_error_holds_no_number():
    """The title goes where people look; a phone number in it does not."""
    item = {
        "id": "a",
        "status": "failed",
        "errors": [{"code": 1, "title": "Cannot reach +1 650-555-1234 (16505551234)"}],
    }
    assert read(change(statuses=[item])).error_title == "Cannot reach … (…)"


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
def test_an_error_of_another_shape_is_still_an_error(error, fault):
    """A code is a number that fits its column, or none."""
    assert read(change(statuses=[{"id": "a", "status": "failed", "errors": [error]}])).errors == (fault,)


def test_a_status_in_a_group_tells_group_and_participant():
    """Of several participants, each has a status of its own."""
    record = sample("group statuses")
    assert (record.group_id, record.recipient) == ("Y2FwaV9ncm91cDox", Identity("16505551234", None))


def test_an_unknown_status_is_kept_and_named():
    """An enum value that is new is no error."""
    record = sample("unknown status")
    assert (record.status, record.unknown) == ("pondered", ("statuses.status=pondered",))


def test_errors_alone_are_an_error_of_the_number():
    """An error about the system, the app or the account."""
    assert sample("errors alone") == records.ReportedError(
        number_id=NUMBER, errors=(Fault(130429, "Rate limit hit", "Too many"),)
    )


@pytest.mark.parametrize("name", ["business app echo", "echo"])
def test_an_echo_is_of_the_customer_it_went_to(name):
    """What a person wrote to a customer by other means; `to` is the conversation."""
    record = sample(name)
    assert isinstance(record, records.Echo)
    assert record.recipient.wa_id == "16505551234"


STANDBY = {
    "standby message": records.InboundMessage,
    "standby echo": records.Echo,
    "standby status": records.InboundStatus,
}


@pytest.mark.parametrize(("name", "type_"), STANDBY.items(), ids=STANDBY)
def test_standby_wraps_what_it_observes(name, type_):
    """What belongs to another handler cannot be mistaken for ours: it is of another type."""
    record = sample(name)
    assert isinstance(record, records.Standby)
    assert isinstance(record.observed, type_)
    assert record.contact.wa_id == "16505551234"
    assert record.number_id == NUMBER


@pytest.mark.parametrize("value", [5, None, [], {"sightings": [1]}, {"mood": "good"}])
def test_standby_of_another_shape_stays_standby(value):
    """Whatever it is, it is not ours to answer."""
    (event,) = split(delivery(change("standby", standby=value)), default_number="default")
    record = parse(event.payload)
    assert isinstance(record, records.Standby)
    assert record.contact.key == ""


def test_history_tells_who_wrote():
    """Threads are flattened; each message knows its customer and its direction."""
    record = sample("history")
    assert (record.phase, record.chunk_order, record.progress) == (0, 1, 55)
    assert [(one.wamid, one.from_business, one.status, one.text) for one in record.messages] == [
        ("wamid.OLD.1", False, "READ", "Do you deliver?"),
        ("wamid.OLD.2", True, "DELIVERED", "Yes"),
    ]
    assert {one.contact for one in record.messages} == {Identity("16505551234", None)}


def test_history_may_be_declined():
    """The business did not share it; the reason is an error."""
    assert sample("history declined").errors[0].code == 2593109


def test_media_of_history_comes_after_it():
    """A message of ours, told by our own number as the sender."""
    (one,) = sample("history media").messages
    assert (one.from_business, one.contact, one.content.id) == (True, Identity("16505551234", None), "1003383421387256")


def test_a_marketing_stop_is_a_preference():
    """The record of an opt-out that no bot has seen."""
    record = sample("marketing stop")
    assert isinstance(record, records.Preference)
    assert (record.value, record.category) == ("stop", "marketing_messages")
    assert record.contact == Identity("16505551234", "US.13491208655302741918")


def test_a_contact_sync_tells_what_was_done():
    """An address book entry of the WhatsApp Business app."""
    record = sample("contact sync")
    assert (record.action, record.full_name, record.contact) == ("add", "Ada Lovelace", Identity("16505551234", None))
    assert record.occurred_at == 1739321024.0


def test_calls_have_an_event_and_a_length():
    """A call opens the customer service window as a message does."""
    call, status = sample("call"), sample("call status")
    assert (call.call_id, call.event, call.duration_s, call.contact.wa_id) == (
        "wacid.1",
        "terminate",
        95.0,
        "16505551234",
    )
    assert (status.call_id, status.event, status.contact.wa_id) == ("wacid.2", "RINGING", "16505551234")


def test_our_own_call_is_of_the_customer():
    """For a call that the business began, `to` is the customer."""
    item = {"id": "wacid.3", "from": "15550783881", "to": "16505551234", "direction": "BUSINESS_INITIATED"}
    assert read(change("calls", calls=[item])).contact == Identity("16505551234", None)


def test_a_group_update_is_of_the_group():
    """Which group, and what happened; the rest as plain values."""
    record = sample("group created")
    assert (record.group_id, record.type, record.content["subject"]) == ("Y2FwaV9ncm91cDox", "group_create", "Walkers")


def test_a_template_update_says_what_changed():
    """One shape for status, category and quality; what did not change is None."""
    rejected, quality, category = sample("template rejected"), sample("template quality"), sample("template category")
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
def test_account_fields_have_their_shapes(name, type_):
    """Each documented field of an account is typed."""
    record = sample(name)
    assert isinstance(record, records.AccountUpdate)
    assert isinstance(record.content, type_)


def test_every_field_that_is_one_thing_has_a_shape():
    """The table of fields and the table of shapes agree."""
    from waypost.cloudapi.inbound.event import EventKind
    from waypost.cloudapi.inbound.fields import WHOLE

    assert {field for field, kind in WHOLE.items() if kind is EventKind.ACCOUNT} == set(updates.UPDATES)


def test_an_account_field_of_another_shape_is_kept_and_named():
    """`event` is a list one day: the update is kept as plain values."""
    record = read({"field": "account_update", "value": {"event": ["A"], "new": 1}})
    assert record.content == {"event": ["A"], "new": 1}
    assert "account_update.value:shape" in record.unknown
    assert "account_update.value.new" in record.unknown


@pytest.mark.parametrize("value", [{"thought": "hm"}, [1], "hm", 5, None])
def test_an_unknown_field_is_kept_and_named(value):
    """Whatever its value is, it is stored, counted, and without effect."""
    record = read({"field": "telepathy_update", "value": value})
    assert isinstance(record, records.Unrecognised)
    assert (record.field, record.content) == ("telepathy_update", value)
    assert "field=telepathy_update" in record.unknown


def test_an_unknown_list_is_kept_and_named():
    """A list that Meta adds to the field messages."""
    record = read(change(sightings=[{"id": 1}]))
    assert isinstance(record, records.Unrecognised)
    assert (record.number_id, record.unknown) == (NUMBER, ("value.sightings",))
    assert record.content["sightings"] == [{"id": 1}]
