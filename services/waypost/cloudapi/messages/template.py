"""Template messages, with every kind of component that a sender can fill.

Only the variable parts are sent: the parameters of header, body and buttons, the cards of a carousel, the end
of an offer, and the status of an order. Sources: Meta's "Template fundamentals" (2026-05-05) and the pages on
marketing, utility, authentication and payment templates (2026-05 to 2026-06).
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from waypost.cloudapi.message_types import MessageType
from waypost.cloudapi.messages.checks import (
    Outgoing,
    Part,
    check_count,
    check_integer,
    check_part,
    check_text,
    check_unique,
    refuse,
    typed,
    without_none,
)
from waypost.cloudapi.messages.template_parts import Currency, DateTime, Parameter, TemplateButton, TextParameter

ORDER_STATUSES = frozenset({"pending", "processing", "partially-shipped", "shipped", "completed", "canceled"})


class TemplateCard(Part, frozen=True, kw_only=True):
    """A card of a template's carousel."""

    header: Parameter | None = None
    body: tuple[Parameter, ...] = ()
    buttons: tuple[TemplateButton, ...] = ()

    def __post_init__(self) -> None:
        _check_parts(self.header, self.body, self.buttons)

    def json(self, index: int) -> dict[str, object]:
        """Returns this card as Meta's JSON. `index` is its place in the carousel."""
        return {"card_index": index, "components": _components(self.header, self.body, self.buttons)}


class OrderStatus(Part, frozen=True, kw_only=True):
    """Updates the status of an order that was sent before."""

    reference_id: str
    status: str
    """The new status of the order, one of `ORDER_STATUSES`."""
    description: str | None = None

    def __post_init__(self) -> None:
        check_text("order reference", self.reference_id, 200)
        if self.status not in ORDER_STATUSES:
            refuse("order status", "must be one of " + ", ".join(sorted(ORDER_STATUSES)))
        check_text("order description", self.description, 120, optional=True)

    def json(self) -> dict[str, object]:
        """Returns the status as a template component in Meta's JSON."""
        order = without_none(status=self.status, description=self.description)
        return _component("order_status", {"reference_id": self.reference_id, "order": order})


class Template(Outgoing, frozen=True, kw_only=True):
    """An approved template with the values that fill it. It is identified by its name and language code."""

    kind: ClassVar[str] = MessageType.TEMPLATE
    name: str
    language: str
    header: Parameter | None = None
    body: tuple[Parameter, ...] = ()
    buttons: tuple[TemplateButton, ...] = ()
    cards: tuple[TemplateCard, ...] = ()
    offer_expires_at_ms: int | None = None
    """The end of a limited-time offer, in milliseconds since 1970."""
    order_status: OrderStatus | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z0-9_]{1,512}", self.name):
            refuse("template name", "must be lower-case letters, digits and underscores, at most 512")
        if not isinstance(self.language, str) or not re.fullmatch(r"[a-z]{2,3}(_[A-Za-z]{2,4})?", self.language):
            refuse("template language", "must be a code like en or en_US")
        _check_parts(self.header, self.body, self.buttons)
        if self.cards:
            check_count("cards", self.cards, 2, 10)
        for card in self.cards:
            check_part("card", card, TemplateCard)
        if self.offer_expires_at_ms is not None:
            check_integer("offer_expires_at_ms", self.offer_expires_at_ms, 10**12, 10**14)
        if self.order_status is not None:
            check_part("order_status", self.order_status, OrderStatus)

    def content(self) -> dict[str, object]:
        """Returns the value of the member `template` of Meta's JSON."""
        components = _components(self.header, self.body, self.buttons)
        if self.offer_expires_at_ms is not None:
            components.append(_component("limited_time_offer", {"expiration_time_ms": self.offer_expires_at_ms}))
        if self.cards:
            cards = [card.json(index) for index, card in enumerate(self.cards)]
            components.append({"type": "carousel", "cards": cards})
        if self.order_status is not None:
            components.append(self.order_status.json())
        body: dict[str, object] = {"name": self.name, "language": {"code": self.language}}
        return body | ({"components": components} if components else {})

    def readable(self) -> str:
        """Returns the template's name in brackets, because the wording of a template is stored only at Meta."""
        return f"[{self.name}]"


def _component(kind: str, value: object) -> dict[str, object]:
    """Returns a template component with one parameter. The component and its parameter have the same type."""
    return {"type": kind, "parameters": [typed(kind, value)]}


def _check_parts(header: object, body: Sequence[object], buttons: Sequence[object]) -> None:
    if header is not None:
        check_part("header", header, Parameter)
    check_count("body parameters", body, 0, 100)
    names = []
    for parameter in body:
        check_part("body parameter", parameter, (TextParameter, Currency, DateTime))
        assert isinstance(parameter, Parameter)
        names.append(parameter.name)
    if any(names) and not all(names):
        refuse("body parameters", "must be all named or all without a name")
    check_unique("parameter names", (name for name in names if name))
    check_count("buttons", buttons, 0, 10)
    indexes = []
    for button in buttons:
        check_part("button", button, TemplateButton)
        assert isinstance(button, TemplateButton)
        indexes.append(f"{button.index}")
    check_unique("button indexes", indexes)


def _components(
    header: Parameter | None, body: Sequence[Parameter], buttons: Sequence[TemplateButton]
) -> list[dict[str, object]]:
    components: list[dict[str, object]] = []
    if header is not None:
        components.append({"type": "header", "parameters": [header.json()]})
    if body:
        components.append({"type": "body", "parameters": [parameter.json() for parameter in body]})
    components += [button.json() for button in buttons]
    return components
