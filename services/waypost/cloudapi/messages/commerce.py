"""Interactive messages that show products of a catalog, or several cards next to each other.

Sources: Meta's pages on product, catalog and media carousel messages (2026-05-21).
"""

from collections.abc import Sequence
from typing import ClassVar

from waypost.cloudapi.message_types import MessageType
from waypost.cloudapi.messages.checks import Part, check_count, check_link, check_part, check_text, refuse, without_none
from waypost.cloudapi.messages.interactive import Button, Header, Interactive, InteractiveType, check_buttons


class Product(Interactive, frozen=True, kw_only=True):
    """Shows one product of a catalog."""

    interactive_kind: ClassVar[str] = InteractiveType.PRODUCT
    body_optional: ClassVar[bool] = True
    catalog_id: str
    product_retailer_id: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("catalog_id", self.catalog_id, 200)
        check_text("product_retailer_id", self.product_retailer_id, 200)

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which names the product."""
        return {"catalog_id": self.catalog_id, "product_retailer_id": self.product_retailer_id}


class ProductSection(Part, frozen=True):
    """A group of products under a title. The title is required if there are several sections."""

    product_retailer_ids: tuple[str, ...]
    title: str | None = None

    def __post_init__(self) -> None:
        check_text("section title", self.title, 24, optional=True)
        check_count("products", self.product_retailer_ids, 1, 30)
        for product in self.product_retailer_ids:
            check_text("product_retailer_id", product, 200)

    def json(self) -> dict[str, object]:
        """Returns the section as Meta's JSON."""
        items = [{"product_retailer_id": product} for product in self.product_retailer_ids]
        return without_none(title=self.title, product_items=items)


def check_product_sections(sections: Sequence[ProductSection]) -> None:
    """Checks that there are 1 to 10 sections with at most 30 products in total.

    The product buttons of templates use this check too.
    """
    check_count("sections", sections, 1, 10)
    for section in sections:
        check_part("section", section, ProductSection)
        if len(sections) > 1 and section.title is None:
            refuse("section", "needs a title because there is more than one")
    check_count("products of all sections", [p for s in sections for p in s.product_retailer_ids], 1, 30)


class ProductList(Interactive, frozen=True, kw_only=True):
    """Shows up to 30 products of a catalog. Meta requires a header with a text."""

    interactive_kind: ClassVar[str] = InteractiveType.PRODUCT_LIST
    headers: ClassVar[tuple[str, ...]] = (MessageType.TEXT,)
    catalog_id: str
    sections: tuple[ProductSection, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.header is None:
            refuse("header", "with a text is required in a list of products")
        check_text("catalog_id", self.catalog_id, 200)
        check_product_sections(self.sections)

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which lists the products in sections."""
        return {"catalog_id": self.catalog_id, "sections": [section.json() for section in self.sections]}


class CatalogMessage(Interactive, frozen=True, kw_only=True):
    """Shows a button that opens the whole catalog."""

    interactive_kind: ClassVar[str] = InteractiveType.CATALOG
    thumbnail_product_retailer_id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("thumbnail_product_retailer_id", self.thumbnail_product_retailer_id, 200, optional=True)

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which describes the catalog button."""
        parameters = without_none(thumbnail_product_retailer_id=self.thumbnail_product_retailer_id)
        return without_none(name=str(self.interactive_kind), parameters=parameters or None)


class Card(Part, frozen=True, kw_only=True):
    """A card of a `Carousel`. It has an image or a video, and either a link or 1 to 3 buttons."""

    header: Header
    body: str | None = None
    link_title: str | None = None
    link_url: str | None = None
    buttons: tuple[Button, ...] = ()

    def __post_init__(self) -> None:
        check_part("card header", self.header, Header)
        if self.header.kind not in (MessageType.IMAGE, MessageType.VIDEO):
            refuse("card header", "must be an image or a video")
        check_text("card body", self.body, 160, optional=True)
        if bool(self.buttons) == (self.link_url is not None):
            refuse("card", "needs either link_title and link_url, or buttons")
        if self.link_url is None:
            check_buttons(self.buttons, 3)
        else:
            check_text("link_title", self.link_title, 20)
            check_link("link_url", self.link_url)

    @property
    def layout(self) -> tuple[object, ...]:
        """Returns the properties that must be equal on all cards of a carousel."""
        return (self.header.kind, len(self.buttons))

    def json(self, index: int) -> dict[str, object]:
        """Returns this card as Meta's JSON. `index` is its place in the carousel."""
        action: dict[str, object] = {"buttons": [button.json("quick_reply") for button in self.buttons]}
        if self.link_url is not None:
            action = {
                "name": str(InteractiveType.LINK),
                "parameters": {"display_text": self.link_title, "url": self.link_url},
            }
        return without_none(
            card_index=index,
            type=str(InteractiveType.LINK),
            header=self.header.json(),
            body=None if self.body is None else {"text": self.body},
            action=action,
        )


class ProductCard(Part, frozen=True):
    """A card of a `Carousel` that shows one product."""

    catalog_id: str
    product_retailer_id: str
    layout: ClassVar[tuple[object, ...]] = (InteractiveType.PRODUCT,)

    def __post_init__(self) -> None:
        check_text("catalog_id", self.catalog_id, 200)
        check_text("product_retailer_id", self.product_retailer_id, 200)

    def json(self, index: int) -> dict[str, object]:
        """Returns this card as Meta's JSON. `index` is its place in the carousel."""
        action = {"catalog_id": self.catalog_id, "product_retailer_id": self.product_retailer_id}
        return {"card_index": index, "type": str(InteractiveType.PRODUCT), "action": action}


class Carousel(Interactive, frozen=True, kw_only=True):
    """Shows 2 to 10 cards of the same layout."""

    interactive_kind: ClassVar[str] = InteractiveType.CAROUSEL
    cards: tuple[Card | ProductCard, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.footer is not None:
            refuse("footer", "is not allowed in a carousel")
        check_count("cards", self.cards, 2, 10)
        for card in self.cards:
            check_part("card", card, (Card, ProductCard))
        if len({card.layout for card in self.cards}) > 1:
            refuse("cards", "must all have the same kind of header and the same number of buttons")

    def action(self) -> dict[str, object]:
        """Returns the member `action` of Meta's JSON, which contains the cards."""
        return {"cards": [card.json(index) for index, card in enumerate(self.cards)]}
