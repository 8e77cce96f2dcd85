"""What the worker sees of an event: typed, matched to the person it is about, and fit for text columns.

    InboundError
    └── UnreadableEvent     the payload is not what an event of its field can be; no retry will change that

Every record carries `unknown`: what was met in it that is not known yet, such as "messages.type=poll". It holds names
of Meta's only, never values of a user's, and is meant for counting.
"""

from typing import Any

import msgspec

from waypost.cloudapi.inbound.bodies import Content


class InboundError(Exception):
    """Something that Meta delivered cannot be used."""


class UnreadableEvent(InboundError):
    """The payload of an event cannot be read. `reason` is a CamelCase word for the event's row; a retry is useless."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all that `parse` returns. `number_id` is as the payload names it, "" where it does not: then, and only
    then, the event's row knows better. `occurred_at` is in unix seconds, 0 when Meta gave none."""

    number_id: str
    occurred_at: float = 0.0
    unknown: tuple[str, ...] = ()


class Identity(msgspec.Struct, frozen=True):
    """A person at WhatsApp: by phone (`wa_id`, digits without +), by BSUID (`user_id`), by both, or not at all.

    A BSUID is scoped to the business portfolio and changes with the user's phone number; users with a username may
    come without a phone. Source: Meta, "Business-scoped user IDs".
    """

    wa_id: str | None
    user_id: str | None
    parent_user_id: str | None = None

    @property
    def key(self) -> str:
        """The BSUID if there is one, else the phone's digits, else ""; as `Event.contact_key`."""
        return self.user_id or self.wa_id or ""


class Fault(msgspec.Struct, frozen=True):
    """An error that Meta reports in a webhook. `title` holds nobody's number; `details` may, and is not for logs."""

    code: int | None
    title: str | None = None
    details: str | None = None


class Referral(msgspec.Struct, frozen=True, kw_only=True):
    """The ad or post that the conversation was opened from."""

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
    """A customer's message. `text` is what a person would read in it; `content` all of it, typed where known.

    `wamid` is "" in the (never seen) case that Meta gives none. In a group (`group_id`), `sender` is the participant.
    `type` is Meta's word, also one that is not known here.
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
    """What became of a message that we sent. Statuses come late, out of order and more than once; none is sure to come.

    `callback_data` is what the request carried as `biz_opaque_callback_data`. In a group, `recipient` is the
    participant where Meta names one. `error_title` is safe to show; everything else about the error is in `errors`.
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
    """A message that the business sent by other means, such as the WhatsApp Business app; a person has spoken."""

    wamid: str
    recipient: Identity
    type: str
    text: str | None = None
    context_wamid: str | None = None
    content: Content | None = None
    group_id: str | None = None
    errors: tuple[Fault, ...] = ()


class Standby(Record, frozen=True, kw_only=True):
    """Something in a conversation that another handler owns: to be observed, never answered."""

    observed: "Observed"

    @property
    def contact(self) -> Identity:
        """Whose conversation it is."""
        match self.observed:
            case InboundMessage(sender=person) | InboundStatus(recipient=person) | Echo(recipient=person):
                return person
            case _:
                return Identity(None, None)


class HistoryMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message from before Waypost. `status` is Meta's word (READ, DELIVERED, …), in capitals."""

    wamid: str
    contact: Identity
    from_business: bool
    occurred_at: float
    status: str | None
    type: str
    text: str | None
    content: Content | None


class History(Record, frozen=True, kw_only=True):
    """A chunk of what the WhatsApp Business app held; or the reason why it is not shared, in `errors`."""

    messages: tuple[HistoryMessage, ...] = ()
    phase: int | None = None
    chunk_order: int | None = None
    progress: int | None = None
    errors: tuple[Fault, ...] = ()


class ContactSync(Record, frozen=True, kw_only=True):
    """A contact was added to, changed in or removed from the WhatsApp Business app's address book."""

    contact: Identity
    action: str | None = None
    full_name: str | None = None
    first_name: str | None = None


class Preference(Record, frozen=True, kw_only=True):
    """A user stopped or resumed (or signed up for) a kind of message. `value` is "stop", "resume", "signup", …"""

    contact: Identity
    value: str
    category: str | None = None
    detail: str | None = None


class Call(Record, frozen=True, kw_only=True):
    """A call began, ended or changed. `event` is connect or terminate, or Meta's word for a status."""

    call_id: str
    contact: Identity
    event: str
    direction: str | None = None
    duration_s: float | None = None
    callback_data: str | None = None
    errors: tuple[Fault, ...] = ()
    content: dict[str, Any]


class GroupUpdate(Record, frozen=True, kw_only=True):
    """A group of this number was made, changed or left. `type` is Meta's word, such as group_create."""

    group_id: str
    type: str
    request_id: str | None = None
    errors: tuple[Fault, ...] = ()
    content: dict[str, Any]


class ReportedError(Record, frozen=True, kw_only=True):
    """An error about the app, the account or the system, and about no message."""

    errors: tuple[Fault, ...]


class AccountUpdate(Record, frozen=True, kw_only=True):
    """Something about the account, or a number of it, changed. `event` is Meta's word for it, where there is one.

    `content` is the field's shape from updates.py, or a plain dict where Meta sent another.
    """

    waba_id: str
    field: str
    event: str | None = None
    content: Any


class TemplateUpdate(Record, frozen=True, kw_only=True):
    """A template's status, quality, category or components changed; what did not change is None."""

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
    """A field, or a member of one, that is not known here: kept, counted, and without effect."""

    field: str
    waba_id: str = ""
    content: Any


Observed = InboundMessage | InboundStatus | Echo | ReportedError | Unrecognised
"""What can be seen of another handler's conversation."""

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
