"""Interactive messages with buttons, lists, links, flows and requests. Each kind has one class.

Products and carousels are in `commerce`. Sources: Meta's pages on each kind (2026-04 to 2026-06), on calling
(2026-06-26), and on business-scoped user ids (2026-05-07).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import ClassVar

from waypost.cloudapi.message_types import MessageType
from waypost.cloudapi.messages.checks import (
    Media,
    Outgoing,
    Part,
    check_count,
    check_integer,
    check_json,
    check_link,
    check_part,
    check_text,
    check_unique,
    refuse,
    typed,
    without_none,
)

BODY = 1024
HEADER_KINDS = (MessageType.TEXT, MessageType.IMAGE, MessageType.VIDEO, MessageType.DOCUMENT)


class InteractiveType(StrEnum):
    """Types of interactive messages, as Meta writes them."""

    BUTTONS = "button"
    LIST = "list"
    LINK = "cta_url"
    FLOW = "flow"
    LOCATION_REQUEST = "location_request_message"
    ADDRESS_REQUEST = "address_message"
    VOICE_CALL = "voice_call"
    CALL_PERMISSION_REQUEST = "call_permission_request"
    CONTACT_REQUEST = "request_contact_info"
    PRODUCT = "product"
    PRODUCT_LIST = "product_list"
    CATALOG = "catalog_message"
    CAROUSEL = "carousel"


class Header(Part, frozen=True, kw_only=True):
    """The header above the body of an interactive message.

    A header is exactly one of these: a text (60 characters), an image, a video or a document.
    """

    text: str | None = None
    image: Media | None = None
    video: Media | None = None
    document: Media | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, kind) is not None for kind in HEADER_KINDS) != 1:
            refuse("header", "must be exactly one of text, image, video, document")
        check_text("header", self.text, 60, optional=True)
        if self.text is None:
            check_part("header", getattr(self, self.kind), Media)

    @property
    def kind(self) -> MessageType:
        """Returns the type of the header: `text`, `image`, `video` or `document`."""
        return next(kind for kind in HEADER_KINDS if getattr(self, kind) is not None)

    def json(self) -> dict[str, object]:
        """Returns the header as Meta's JSON."""
        value = getattr(self, self.kind)
        return typed(self.kind, value.json() if isinstance(value, Media) else value)


class Interactive(Outgoing, frozen=True, kw_only=True):
    """Base class of all interactive messages. `headers` lists the header types that Meta accepts for this kind."""

    kind: ClassVar[str] = MessageType.INTERACTIVE
    interactive_kind: ClassVar[str]
    headers: ClassVar[tuple[str, ...]] = ()
    longest_body: ClassVar[int] = BODY
    body_optional: ClassVar[bool] = False

    body: str | None = None
    header: Header | None = None
    footer: str | None = None

    def action(self) -> Mapping[str, object]:
        """Returns the member `action` of Meta's JSON. It has the buttons, rows or other parts to tap."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("body", self.body, self.longest_body, optional=self.body_optional)
        check_text("footer", self.footer, 60, optional=True)
        if self.header is not None:
            check_part("header", self.header, Header)
            if self.header.kind not in self.headers:
                allowed = " or ".join(self.headers) or "none"
                refuse("header", f"of kind {self.header.kind} is not allowed in this message; allowed: {allowed}")

    def content(self) -> dict[str, object]:
        """Returns the value of the member `interactive` of Meta's JSON."""
        return without_none(
            type=str(self.interactive_kind),
            header=None if self.header is None else self.header.json(),
            body=None if self.body is None else {"text": self.body},
            footer=None if self.footer is None else {"text": self.footer},
            action=self.action(),
        )

    def readable(self) -> str:
        """Returns the body of the message, which is the text that a person reads."""
        return self.body or ""


class Button(Part, frozen=True):
    """A reply button. Meta delivers the button's `id` to us when the contact taps it."""

    id: str
    title: str

    def __post_init__(self) -> None:
        check_text("button id", self.id, 256)
        check_text("button title", self.title, 20)

    def json(self, kind: str) -> dict[str, object]:
        """Returns the button as Meta's JSON. `kind` is `reply`, or `quick_reply` on a card."""
        return typed(kind, {"id": self.id, "title": self.title})


def check_buttons(buttons: Sequence[Button], most: int) -> None:
    """Checks that there are 1 to `most` buttons with distinct ids and titles.

    The cards of a carousel use this check too.
    """
    check_count("buttons", buttons, 1, most)
    for button in buttons:
        check_part("button", button, Button)
    check_unique("button ids", (button.id for button in buttons))
    check_unique("button titles", (button.title for button in buttons))


class Buttons(Interactive, frozen=True, kw_only=True):
    """Shows 1 to 3 reply buttons."""

    interactive_kind: ClassVar[str] = InteractiveType.BUTTONS
    headers: ClassVar[tuple[str, ...]] = HEADER_KINDS
    buttons: tuple[Button, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_buttons(self.buttons, 3)

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which contains the buttons."""
        return {"buttons": [button.json("reply") for button in self.buttons]}


class Row(Part, frozen=True):
    """A row of a list. Meta delivers the row's `id` to us when the contact selects it."""

    id: str
    title: str
    description: str | None = None

    def __post_init__(self) -> None:
        check_text("row id", self.id, 200)
        check_text("row title", self.title, 24)
        check_text("row description", self.description, 72, optional=True)


class Section(Part, frozen=True):
    """A group of rows under a title. The title is required if there are several sections."""

    rows: tuple[Row, ...]
    title: str | None = None

    def __post_init__(self) -> None:
        check_text("section title", self.title, 24, optional=True)
        check_count("rows", self.rows, 1, 10)
        for row in self.rows:
            check_part("row", row, Row)


class List(Interactive, frozen=True, kw_only=True):
    """Shows a button that opens a list of up to 10 rows, in up to 10 sections."""

    interactive_kind: ClassVar[str] = InteractiveType.LIST
    headers: ClassVar[tuple[str, ...]] = (MessageType.TEXT,)
    longest_body: ClassVar[int] = 4096
    button: str
    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("button", self.button, 20)
        check_count("sections", self.sections, 1, 10)
        for section in self.sections:
            check_part("section", section, Section)
            if len(self.sections) > 1 and section.title is None:
                refuse("section", "needs a title because there is more than one")
        rows = [row for section in self.sections for row in section.rows]
        check_count("rows of all sections", rows, 1, 10)
        check_unique("row ids", (row.id for row in rows))

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which contains the sections with their rows."""
        sections = [
            without_none(
                title=section.title,
                rows=[without_none(id=row.id, title=row.title, description=row.description) for row in section.rows],
            )
            for section in self.sections
        ]
        return {"button": self.button, "sections": sections}


class Link(Interactive, frozen=True, kw_only=True):
    """Shows a button that opens a web address. Meta calls this kind `cta_url`."""

    interactive_kind: ClassVar[str] = InteractiveType.LINK
    headers: ClassVar[tuple[str, ...]] = HEADER_KINDS
    title: str
    url: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("title", self.title, 20)
        check_link("url", self.url)

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which contains the address."""
        return {"name": str(self.interactive_kind), "parameters": {"display_text": self.title, "url": self.url}}


class Flow(Interactive, frozen=True, kw_only=True):
    """Shows a button that opens a flow. The flow is given by its id or by its name."""

    interactive_kind: ClassVar[str] = InteractiveType.FLOW
    headers: ClassVar[tuple[str, ...]] = HEADER_KINDS
    title: str
    flow_id: str | None = None
    flow_name: str | None = None
    token: str | None = None
    """A token that Meta returns with the contact's answer. Meta's default is "unused"."""
    screen: str | None = None
    """The first screen, for the flow action `navigate`.

    If it is None, the flow's own endpoint is asked for the screen (`data_exchange`).
    """
    data: dict[str, object] | None = None
    """The data passed to the first screen."""
    draft: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("title", self.title, 30)
        if (self.flow_id is None) == (self.flow_name is None):
            refuse("flow", "needs either flow_id or flow_name")
        check_text("flow_id", self.flow_id, 200, optional=True)
        check_text("flow_name", self.flow_name, 200, optional=True)
        check_text("token", self.token, 1000, optional=True)
        check_text("screen", self.screen, 200, optional=True)
        if self.data is not None and self.screen is None:
            refuse("data", "is for the first screen, so it needs `screen`")
        if self.data is not None and (not isinstance(self.data, dict) or not self.data):
            refuse("data", "must be a mapping with at least one entry")
        check_json("data", self.data)

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which names the flow."""
        first = None if self.screen is None else without_none(screen=self.screen, data=self.data)
        parameters = without_none(
            flow_message_version="3",
            mode="draft" if self.draft else "published",
            flow_id=self.flow_id,
            flow_name=self.flow_name,
            flow_token=self.token,
            flow_cta=self.title,
            flow_action="data_exchange" if first is None else "navigate",
            flow_action_payload=first,
        )
        return {"name": str(self.interactive_kind), "parameters": parameters}


class LocationRequest(Interactive, frozen=True, kw_only=True):
    """Asks the contact for a location."""

    interactive_kind: ClassVar[str] = InteractiveType.LOCATION_REQUEST

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which asks for the location."""
        return {"name": "send_location"}


class AddressRequest(Interactive, frozen=True, kw_only=True):
    """Asks the contact for a postal address. Meta offers this in India and Singapore."""

    interactive_kind: ClassVar[str] = InteractiveType.ADDRESS_REQUEST
    headers: ClassVar[tuple[str, ...]] = HEADER_KINDS
    country: str
    """The ISO 3166 code of the country: two capital letters."""
    values: dict[str, str] | None = None
    validation_errors: dict[str, str] | None = None
    saved_addresses: tuple[dict[str, object], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("country", self.country, 2)
        if not (len(self.country) == 2 and self.country.isascii() and self.country.isupper()):
            refuse("country", "must be two capital letters")
        check_json("address", [self.values, self.validation_errors, self.saved_addresses])

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which describes the address form."""
        parameters = without_none(
            country=self.country,
            values=self.values,
            validation_errors=self.validation_errors,
            saved_addresses=list(self.saved_addresses) or None,
        )
        return {"name": str(self.interactive_kind), "parameters": parameters}


class VoiceCall(Interactive, frozen=True, kw_only=True):
    """Shows a button with which the contact can call the business."""

    interactive_kind: ClassVar[str] = InteractiveType.VOICE_CALL
    title: str | None = None
    ttl_minutes: int | None = None
    call_payload: str | None = None
    """A text of our own that Meta returns in the webhooks of the call."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("title", self.title, 20, optional=True)
        if self.ttl_minutes is not None:
            check_integer("ttl_minutes", self.ttl_minutes, 1, 43_200)
        check_text("call_payload", self.call_payload, 512, optional=True)

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which describes the call button."""
        parameters = without_none(display_text=self.title, ttl_minutes=self.ttl_minutes, payload=self.call_payload)
        return without_none(name=str(self.interactive_kind), parameters=parameters or None)


class CallPermissionRequest(Interactive, frozen=True, kw_only=True):
    """Asks whether the business may call the contact."""

    interactive_kind: ClassVar[str] = InteractiveType.CALL_PERMISSION_REQUEST
    body_optional: ClassVar[bool] = True

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which asks for the permission."""
        return {"name": str(self.interactive_kind)}


class ContactRequest(Interactive, frozen=True, kw_only=True):
    """Asks a contact for the phone number. It is used when only the contact's BSUID is known.

    The type of the message is `request_contact_info`. In the webhook with the answer, the type is
    `contact_request`.
    """

    interactive_kind: ClassVar[str] = InteractiveType.CONTACT_REQUEST

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which asks for the phone number."""
        return {"name": str(self.interactive_kind)}
