"""The values that fill a template. They are the parameters of its header, its body and its buttons."""

import re
from typing import ClassVar

from waypost.cloudapi.message_types import MessageType
from waypost.cloudapi.messages.checks import (
    Media,
    Part,
    check_coordinate,
    check_integer,
    check_json,
    check_part,
    check_text,
    refuse,
    typed,
    without_none,
)
from waypost.cloudapi.messages.commerce import ProductSection, check_product_sections

LONGEST_TEXT = 32_768

_ACTION = "action"
"""The type of a button parameter that says what the button opens."""


class Parameter(Part, frozen=True, kw_only=True):
    """A value for a variable of a template's header or body.

    If a template has named parameters, all of them need a `name`.
    """

    kind: ClassVar[str]
    name: str | None = None

    def value(self) -> object:
        """Returns the parameter's value.

        In Meta's JSON, the member with the value has the name of the parameter's kind.
        """
        raise NotImplementedError

    def json(self) -> dict[str, object]:
        """Returns the parameter as Meta's JSON."""
        kind = str(self.kind)
        return without_none(type=kind, parameter_name=self.name) | {kind: self.value()}

    def __post_init__(self) -> None:
        if self.name is not None and not re.fullmatch(r"[a-z0-9_]{1,512}", self.name):
            refuse("parameter name", "must be lower-case letters, digits and underscores")


class TextParameter(Parameter, frozen=True):
    """A text for a variable.

    The text has no line breaks, no tabs and at most four spaces in a row. Meta refuses any other text here with
    error 132012.
    """

    kind: ClassVar[str] = MessageType.TEXT
    text: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("parameter", self.text, LONGEST_TEXT)
        if re.search(r"[\n\r\t]| {5,}", self.text):
            refuse("parameter", "must not contain line breaks, tabs or more than four spaces in a row")

    def value(self) -> str:
        """Returns the text of the parameter."""
        return self.text


class Currency(Parameter, frozen=True, kw_only=True):
    """An amount that is formatted for the reader's language. Where that is not possible, `fallback` is shown."""

    kind: ClassVar[str] = "currency"
    code: str
    """The ISO 4217 code of the currency."""
    amount_1000: int
    """The amount in thousandths of the currency's unit: 100.99 is 100990."""
    fallback: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.code, str) or not re.fullmatch(r"[A-Z]{3}", self.code):
            refuse("currency code", "must be three capital letters")
        check_integer("amount_1000", self.amount_1000, -(10**15), 10**15)
        check_text("currency fallback", self.fallback, 200)

    def value(self) -> dict[str, object]:
        """Returns the amount as Meta's JSON."""
        return {"fallback_value": self.fallback, "code": self.code, "amount_1000": self.amount_1000}


class DateTime(Parameter, frozen=True):
    """A date, given as text. Meta shows the text unchanged."""

    kind: ClassVar[str] = "date_time"
    fallback: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("date_time fallback", self.fallback, 200)

    def value(self) -> dict[str, object]:
        """Returns the date as Meta's JSON."""
        return {"fallback_value": self.fallback}


class ImageParameter(Parameter, frozen=True):
    """The image in a template's header."""

    kind: ClassVar[str] = MessageType.IMAGE
    media: Media

    def __post_init__(self) -> None:
        super().__post_init__()
        check_part(self.kind, self.media, Media)

    def value(self) -> dict[str, object]:
        """Returns the image as Meta's JSON."""
        return self.media.json()


class VideoParameter(ImageParameter, frozen=True):
    """The video in a template's header."""

    kind: ClassVar[str] = MessageType.VIDEO


class GifParameter(ImageParameter, frozen=True):
    """The animation in a template's header. It must be an MP4 without sound."""

    kind: ClassVar[str] = "gif"


class DocumentParameter(ImageParameter, frozen=True):
    """The document in a template's header."""

    kind: ClassVar[str] = MessageType.DOCUMENT
    filename: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("filename", self.filename, 240, optional=True)

    def value(self) -> dict[str, object]:
        """Returns the document as Meta's JSON."""
        return self.media.json() | without_none(filename=self.filename)


class LocationParameter(Parameter, frozen=True, kw_only=True):
    """The location in a template's header. Meta requires all four values."""

    kind: ClassVar[str] = MessageType.LOCATION
    latitude: float
    longitude: float
    place: str
    address: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_coordinate("latitude", self.latitude, 90)
        check_coordinate("longitude", self.longitude, 180)
        check_text("place", self.place, 1000)
        check_text("address", self.address, 1000)

    def value(self) -> dict[str, object]:
        """Returns the location as Meta's JSON."""
        return {"latitude": self.latitude, "longitude": self.longitude, "name": self.place, "address": self.address}


class ProductParameter(Parameter, frozen=True, kw_only=True):
    """The product in the header of a carousel card."""

    kind: ClassVar[str] = "product"
    catalog_id: str
    product_retailer_id: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("catalog_id", self.catalog_id, 200)
        check_text("product_retailer_id", self.product_retailer_id, 200)

    def value(self) -> dict[str, object]:
        """Returns the product as Meta's JSON."""
        return {"product_retailer_id": self.product_retailer_id, "catalog_id": self.catalog_id}


class TemplateButton(Part, frozen=True, kw_only=True):
    """Base class of the values for one button of a template.

    `index` is the button's place in the template, counted from 0.
    """

    kind: ClassVar[str]
    index: int

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        raise NotImplementedError

    def json(self) -> dict[str, object]:
        """Returns the button as a template component in Meta's JSON."""
        component: dict[str, object] = {"type": "button", "sub_type": self.kind, "index": self.index}
        parameters = self.parameters()
        return component | ({"parameters": parameters} if parameters else {})

    def __post_init__(self) -> None:
        check_integer("button index", self.index, 0, 9)


class QuickReply(TemplateButton, frozen=True, kw_only=True):
    """The value for a quick-reply button. Meta delivers the payload to us when the contact taps the button."""

    kind: ClassVar[str] = "quick_reply"
    payload: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("quick reply payload", self.payload, 256)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        return [typed("payload", self.payload)]


class UrlButton(TemplateButton, frozen=True, kw_only=True):
    """The value for a link button.

    The value is the variable end of the web address. In authentication templates, the value is the code.
    """

    kind: ClassVar[str] = "url"
    suffix: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("url suffix", self.suffix, 2000)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        return [typed(MessageType.TEXT, self.suffix)]


class CopyCode(TemplateButton, frozen=True, kw_only=True):
    """The code for a button that copies a coupon code."""

    kind: ClassVar[str] = "copy_code"
    code: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("coupon code", self.code, 20)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        return [typed("coupon_code", self.code)]


class FlowButton(TemplateButton, frozen=True, kw_only=True):
    """The values for a button that opens the template's flow."""

    kind: ClassVar[str] = "flow"
    token: str | None = None
    data: dict[str, object] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("flow token", self.token, 1000, optional=True)
        check_json("flow data", self.data)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        action = without_none(flow_token=self.token, flow_action_data=self.data)
        return [typed(_ACTION, action)] if action else []


class CatalogButton(TemplateButton, frozen=True, kw_only=True):
    """The value for a button that opens the catalog."""

    kind: ClassVar[str] = "catalog"
    thumbnail_product_retailer_id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("thumbnail_product_retailer_id", self.thumbnail_product_retailer_id, 200, optional=True)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        action = without_none(thumbnail_product_retailer_id=self.thumbnail_product_retailer_id)
        return [typed(_ACTION, action)] if action else []


class ProductsButton(TemplateButton, frozen=True, kw_only=True):
    """The values for a button that opens a list of products (`mpm`)."""

    kind: ClassVar[str] = "mpm"
    thumbnail_product_retailer_id: str
    sections: tuple[ProductSection, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("thumbnail_product_retailer_id", self.thumbnail_product_retailer_id, 200)
        check_product_sections(self.sections)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        sections = [section.json() for section in self.sections]
        action = {"thumbnail_product_retailer_id": self.thumbnail_product_retailer_id, "sections": sections}
        return [typed(_ACTION, action)]


class VoiceCallButton(TemplateButton, frozen=True, kw_only=True):
    """The values for a button with which the contact can call the business."""

    kind: ClassVar[str] = "voice_call"
    ttl_minutes: int | None = None
    payload: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ttl_minutes is not None:
            check_integer("ttl_minutes", self.ttl_minutes, 1, 43_200)
        check_text("voice call payload", self.payload, 512, optional=True)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        values = without_none(ttl_minutes=self.ttl_minutes, payload=self.payload)
        return [typed(name, value) for name, value in values.items()]


class OrderDetailsButton(TemplateButton, frozen=True, kw_only=True):
    """The values for a button that opens an order. The contact can review the order and pay it.

    `details` is Meta's `order_details` (India, Brazil). It is sent unchanged.
    """

    kind: ClassVar[str] = "order_details"
    details: dict[str, object]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.details, dict) or not self.details:
            refuse("order details", "must be a mapping with at least one entry")
        check_json("order details", self.details)

    def parameters(self) -> list[dict[str, object]]:
        """Returns the member `parameters` of this button in Meta's JSON."""
        return [typed(_ACTION, {"order_details": self.details})]
