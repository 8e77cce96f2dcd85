"""Typed contents of customers' messages. Unknown content is kept as a plain dict.

Texts are kept as Meta sends them. Media ids from a webhook are valid for 7 days and their `url` for 5 minutes
(Meta, "Media").
"""

from typing import Any

import msgspec

from waypost.cloudapi.inbound.lenient_json import DECODE_ERRORS, loads, storable
from waypost.cloudapi.message_types import MessageType


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base class of typed message contents. Members that Meta leaves out are None."""


class TextBody(Body, frozen=True):
    body: str


class MediaBody(Body, frozen=True):
    """The body of image, video, audio (and voice), document and sticker messages."""

    id: str | None = None
    mime_type: str | None = None
    sha256: str | None = None
    url: str | None = None
    caption: str | None = None
    filename: str | None = None
    voice: bool | None = None
    animated: bool | None = None


class LocationBody(Body, frozen=True):
    """The body of a location message. The coordinates are in degrees."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None
    url: str | None = None


class PersonName(Body, frozen=True):
    formatted_name: str | None = None
    first_name: str | None = None
    last_name: str | None = None


class Phone(Body, frozen=True):
    phone: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    type: str | None = None


class Email(Body, frozen=True):
    email: str | None = None
    type: str | None = None


class ContactCard(Body, frozen=True):
    """A contact's card. If the card answers our request for the phone number, `origin` is contact_request."""

    name: PersonName | None = None
    phones: tuple[Phone, ...] = ()
    emails: tuple[Email, ...] = ()
    addresses: tuple[dict[str, Any], ...] = ()
    urls: tuple[dict[str, Any], ...] = ()
    org: dict[str, Any] | None = None
    birthday: str | None = None
    origin: str | None = None
    vcard: str | None = None


class SelectedOption(Body, frozen=True):
    """The reply button or list row that a user selected."""

    id: str
    title: str | None = None
    description: str | None = None


class FormReply(Body, frozen=True):
    """The answer to a flow or an address form. `response_json` is JSON text, and `response` is its decoded content."""

    name: str | None = None
    body: str | None = None
    response_json: str | None = None

    @property
    def response(self) -> dict[str, Any] | None:
        """Returns the form that the user filled in. Returns None if the form is missing or is not a JSON object."""
        try:
            form = loads(storable((self.response_json or "").encode()))
        except DECODE_ERRORS:
            return None
        return form if isinstance(form, dict) else None


class CallPermissionReply(Body, frozen=True):
    response: str | None = None
    expiration_timestamp: str | int | None = None
    is_permanent: bool | None = None
    response_source: str | None = None


class InteractiveBody(Body, frozen=True):
    """The body of an interactive message that a user sent. `type` names the one field that holds the reply.

    Sometimes Meta sends an error next to the message instead of a reply.
    """

    type: str | None = None
    button_reply: SelectedOption | None = None
    list_reply: SelectedOption | None = None
    nfm_reply: FormReply | None = None
    call_permission_reply: CallPermissionReply | None = None


class ButtonBody(Body, frozen=True):
    """Reports that a user pressed a quick-reply button of a template."""

    payload: str | None = None
    text: str | None = None


class ReactionBody(Body, frozen=True):
    """A user's reaction to a message. A missing or empty `emoji` means that the reaction was removed."""

    message_id: str
    emoji: str | None = None


class OrderedProduct(Body, frozen=True):
    product_retailer_id: str | None = None
    quantity: float | None = None
    item_price: float | None = None
    currency: str | None = None


class OrderBody(Body, frozen=True):
    catalog_id: str | None = None
    text: str | None = None
    product_items: tuple[OrderedProduct, ...] = ()


class SystemBody(Body, frozen=True):
    """Reports that a user's number, user id or identity changed.

    Older Graph versions write `new_wa_id` instead of `wa_id`.
    """

    type: str | None = None
    body: str | None = None
    wa_id: str | None = None
    new_wa_id: str | None = None
    user_id: str | None = None
    parent_user_id: str | None = None
    previous_user_id: str | None = None
    previous_parent_user_id: str | None = None
    customer: str | None = None
    identity: str | None = None


class EditBody(Body, frozen=True):
    """The body of an edited message. `message` holds the new version, which has a `type` and a body of that type."""

    original_message_id: str
    message: dict[str, Any] | None = None


class RevokeBody(Body, frozen=True):
    original_message_id: str


class UnsupportedBody(Body, frozen=True):
    """The body of a message whose content Meta's API does not deliver.

    `type` is the real type of the message: poll_creation, gif, pin, edit, … Meta may add types.
    """

    type: str | None = None


class WelcomeBody(Body, frozen=True):
    """The body of a message by which Meta reports that the user opened the chat for the first time.

    The message has no other content.
    """


Content = Body | tuple[ContactCard, ...] | dict[str, Any]
"""The content of a message: a typed body, contact cards, or plain values for types and shapes that are not known."""

BODIES: dict[str, Any] = {
    MessageType.TEXT: TextBody,
    MessageType.IMAGE: MediaBody,
    MessageType.VIDEO: MediaBody,
    MessageType.AUDIO: MediaBody,
    MessageType.VOICE: MediaBody,
    MessageType.DOCUMENT: MediaBody,
    MessageType.STICKER: MediaBody,
    MessageType.LOCATION: LocationBody,
    MessageType.CONTACTS: tuple[ContactCard, ...],
    MessageType.INTERACTIVE: InteractiveBody,
    MessageType.BUTTON: ButtonBody,
    MessageType.REACTION: ReactionBody,
    MessageType.ORDER: OrderBody,
    MessageType.SYSTEM: SystemBody,
    MessageType.EDIT: EditBody,
    MessageType.REVOKE: RevokeBody,
    MessageType.UNSUPPORTED: UnsupportedBody,
    MessageType.REQUEST_WELCOME: WelcomeBody,
}
"""Maps a message's `type` to the class of its body. The body is in the member that is named after the type."""


def readable(content: Content | None) -> str | None:
    """Returns the text that a person would read: text, caption, title, emoji, … Returns None if there is none."""
    match content:
        case TextBody(body=text) | MediaBody(caption=text) | ButtonBody(text=text) | ReactionBody(emoji=text):
            pass
        case SystemBody(body=text):
            pass
        case LocationBody():
            named = ", ".join(part for part in (content.name, content.address) if part)
            text = named or f"{content.latitude}, {content.longitude}"
        case InteractiveBody():
            text = _readable_reply(content)
        case OrderBody():
            items = ", ".join(f"{item.quantity or 1:g} × {item.product_retailer_id}" for item in content.product_items)
            text = content.text or items
        case tuple():
            text = ", ".join(filter(None, (_readable_card(card) for card in content)))
        case {"body": str(text)} | {"caption": str(text)} | {"text": str(text)} | {"title": str(text)}:
            pass
        case _:
            text = None
    return text or None


def selected_id(content: Content | None) -> str | None:
    """Returns the id of the button or row that was selected, or None."""
    match content:
        case (
            InteractiveBody(button_reply=SelectedOption(id=option_id))
            | InteractiveBody(list_reply=SelectedOption(id=option_id))
        ):
            return option_id
        case ButtonBody(payload=payload):
            return payload
        case _:
            return None


def _readable_reply(reply: InteractiveBody) -> str | None:
    if option := reply.button_reply or reply.list_reply:
        return option.title or option.id
    if reply.nfm_reply:
        return reply.nfm_reply.body or reply.nfm_reply.name
    return reply.call_permission_reply.response if reply.call_permission_reply else None


def _readable_card(card: ContactCard) -> str | None:
    name = card.name.formatted_name if card.name else None
    return name or next((phone.phone for phone in card.phones if phone.phone), None)
