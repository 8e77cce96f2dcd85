"""The records that `parse` returns. They are typed, matched to a person, and valid for text columns.

    InboundError
    └── UnreadableEvent     The payload does not fit its field. A retry does not help.

The field `unknown` of every record names the unknown parts that were found, such as "messages.type=poll". It
contains only names from Meta, never a user's values. It is meant for counting.
"""

import enum
from typing import Any

import msgspec

from waypost.cloudapi.inbound.bodies import Content
from waypost.cloudapi.inbound.event import Problem


class InboundError(Exception):
    """Base class of errors about delivered data."""


class UnreadableEvent(InboundError):
    """The payload of an event cannot be read. `reason` is stored in the event's row. A retry does not help."""

    def __init__(self, reason: Problem, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MessageStatus(enum.StrEnum):
    """Statuses that Meta reports for a message that was sent.

    Meta may add statuses, so a received status stays a string.
    """

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"
    DELETED = "deleted"
    WARNING = "warning"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of all records. `occurred_at` is in unix seconds, or 0 if Meta gave no time.

    `number_id` is the number in the payload, or "" if the payload names none. If it is "", use the number in the
    event's row.
    """

    number_id: str
    occurred_at: float = 0.0
    unknown: tuple[str, ...] = ()


class Identity(msgspec.Struct, frozen=True):
    """A person on WhatsApp, identified by phone, by BSUID, by both, or not at all.

    `wa_id` is the phone number (digits without +). `user_id` is the BSUID. A BSUID is specific to the business
    portfolio and changes with the user's phone number. For users with a username, Meta may give no phone number.
    Source: Meta, "Business-scoped user IDs".
    """

    wa_id: str | None
    user_id: str | None
    parent_user_id: str | None = None

    @property
    def key(self) -> str:
        """Returns the BSUID if there is one, else the digits of the phone, else "".

        The value equals `Event.contact_key`.
        """
        return self.user_id or self.wa_id or ""


class Fault(msgspec.Struct, frozen=True):
    """An error that Meta reports in a webhook. `title` has no phone number.

    `details` may contain a phone number and must not be logged.
    """

    code: int | None
    title: str | None = None
    details: str | None = None


class Referral(msgspec.Struct, frozen=True, kw_only=True):
    """The ad or post from which the customer opened the conversation."""

    source_url: str | None = None
    source_id: str | None = None
    source_type: str | None = None
    headline: str | None = None
    body: str | None = None
    media_type: str | None = None
    image_url: str | None = None
    video_url: str | None = None
    thumbnail_url: str | None = None
    ctwa_clid: str | None = None


class InboundMessage(Record, frozen=True, kw_only=True):
    """A customer's message. `text` is the part that a person would read. `content` is the whole body, typed if known.

    `wamid` is "" if Meta gives none, which has not been seen in practice. In a group (`group_id`), `sender` is
    the participant. `type` is Meta's word and may be one that Waypost does not know.
    """

    wamid: str
    sender: Identity
    profile_name: str | None = None
    username: str | None = None
    type: str
    text: str | None = None
    button_id: str | None = None
    context_wamid: str | None = None
    context_from: Identity | None = None
    forwarded: bool = False
    frequently_forwarded: bool = False
    referred_product: dict[str, Any] | None = None
    content: Content | None = None
    referral: Referral | None = None
    group_id: str | None = None
    identity_key_hash: str | None = None
    errors: tuple[Fault, ...] = ()
    changed_from: Identity | None = None
    changed_to: Identity | None = None


class InboundStatus(Record, frozen=True, kw_only=True):
    """The status of a message that we sent. Statuses may come late, out of order, repeatedly or not at all.

    `callback_data` is the `biz_opaque_callback_data` of the request. In a group, `recipient` is the participant
    if Meta names one. `error_title` may be shown. The rest of the error is in `errors`.
    """

    wamid: str
    status: str
    recipient: Identity
    group_id: str | None = None
    callback_data: str | None = None
    error_code: int | None = None
    error_title: str | None = None
    errors: tuple[Fault, ...] = ()
    pricing_category: str | None = None
    pricing_type: str | None = None
    pricing_model: str | None = None
    billable: bool | None = None
    conversation_id: str | None = None
    conversation_origin: str | None = None
    conversation_expires_at: float = 0.0
    identity_key_hash: str | None = None


class Echo(Record, frozen=True, kw_only=True):
    """A message that the business sent by other means, such as the WhatsApp Business app.

    An echo shows that a person has answered the customer.
    """

    wamid: str
    recipient: Identity
    type: str
    text: str | None = None
    context_wamid: str | None = None
    content: Content | None = None
    group_id: str | None = None
    errors: tuple[Fault, ...] = ()


class Standby(Record, frozen=True, kw_only=True):
    """An item of a conversation that another handler owns. It may be observed but never answered."""

    observed: "Observed"

    @property
    def contact(self) -> Identity:
        """Returns the person in the conversation."""
        match self.observed:
            case InboundMessage(sender=person) | InboundStatus(recipient=person) | Echo(recipient=person):
                return person
            case _:
                return Identity(None, None)


class HistoryMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message from the time before Waypost was in use. `status` is Meta's word in capitals (READ, DELIVERED, …)."""

    wamid: str
    contact: Identity
    from_business: bool
    occurred_at: float
    status: str | None
    type: str
    text: str | None
    content: Content | None


class History(Record, frozen=True, kw_only=True):
    """A chunk of the WhatsApp Business app's history. If the history is not shared, `errors` says why."""

    messages: tuple[HistoryMessage, ...] = ()
    phase: int | None = None
    chunk_order: int | None = None
    progress: int | None = None
    errors: tuple[Fault, ...] = ()


class ContactSync(Record, frozen=True, kw_only=True):
    """A contact was added to, changed in or removed from the address book of the WhatsApp Business app."""

    contact: Identity
    action: str | None = None
    full_name: str | None = None
    first_name: str | None = None


class Preference(Record, frozen=True, kw_only=True):
    """A user stopped, resumed or signed up for a kind of message. `value` is "stop", "resume", "signup", …"""

    contact: Identity
    value: str
    category: str | None = None
    detail: str | None = None


class Call(Record, frozen=True, kw_only=True):
    """A call began, ended or changed. `event` is connect or terminate, or Meta's word for a status of the call."""

    call_id: str
    contact: Identity
    event: str
    direction: str | None = None
    duration_s: float | None = None
    callback_data: str | None = None
    errors: tuple[Fault, ...] = ()
    content: dict[str, Any]


class GroupUpdate(Record, frozen=True, kw_only=True):
    """A group of this number was created, changed or left. `type` is Meta's word, such as group_create."""

    group_id: str
    type: str
    request_id: str | None = None
    errors: tuple[Fault, ...] = ()
    content: dict[str, Any]


class ReportedError(Record, frozen=True, kw_only=True):
    """An error about the app, the account or the system, not about a message."""

    errors: tuple[Fault, ...]


class AccountUpdate(Record, frozen=True, kw_only=True):
    """Something about the account, or about one of its numbers, changed.

    `event` is Meta's word for the change, if there is one. `content` has the field's shape from updates.py. It is
    a plain dict if Meta sent a different shape.
    """

    waba_id: str
    field: str
    event: str | None = None
    content: Any


class TemplateUpdate(Record, frozen=True, kw_only=True):
    """A template's status, quality, category or components changed. Unchanged parts are None."""

    waba_id: str
    field: str
    template_id: str
    name: str | None = None
    language: str | None = None
    event: str | None = None
    reason: str | None = None
    category: str | None = None
    previous_category: str | None = None
    impending_category: str | None = None
    category_changes_at: float = 0.0
    quality: str | None = None
    previous_quality: str | None = None
    content: dict[str, Any]


class Unrecognised(Record, frozen=True, kw_only=True):
    """An unknown field, or an unknown member of a known field. It is stored and counted, but has no effect."""

    field: str
    waba_id: str = ""
    content: Any


Observed = InboundMessage | InboundStatus | Echo | ReportedError | Unrecognised
"""The types of items that Meta also delivers from a conversation that another handler owns."""

Inbound = (
    InboundMessage
    | InboundStatus
    | Echo
    | Standby
    | History
    | ContactSync
    | Preference
    | Call
    | GroupUpdate
    | ReportedError
    | AccountUpdate
    | TemplateUpdate
    | Unrecognised
)
