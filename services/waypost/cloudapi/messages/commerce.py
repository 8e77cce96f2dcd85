"""Interactive messages that show products of a catalog, or cards side by side.

Sources: Meta's pages on product, catalog and media carousel messages (2026-05-21).
"""

from collections.abc import Sequence
from typing import ClassVar

from waypost.cloudapi.messages.checks import Part, check_count, check_link, check_part, check_text, given, refuse
from waypost.cloudapi.messages.interactive import Button, Header, Interactive, check_buttons


class Product(Interactive, frozen=True, kw_only=True):
    """One product of a catalog."""

    interactive_kind: ClassVar[str] = "product"
    body_optional: ClassVar[bool] = True
    catalog_id: str
    product_retailer_id: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("catalog_id", self.catalog_id, 200)
        check_text("product_retailer_id", self.product_retailer_id, 200)

    def action(self) -> dict[str, object]:
        """Graph's `action`."""
        return {"catalog_id": self.catalog_id, "product_retailer_id": self.product_retailer_id}


class ProductSection(Part, frozen=True):
    """Products under a title, which is needed as soon as there are two sections."""

    product_retailer_ids: tuple[str, ...]
    title: str | None = None

    def __post_init__(self) -> None:
        check_text("section title", self.title, 24, optional=True)
        check_count("products", self.product_retailer_ids, 1, 30)
        for product in self.product_retailer_ids:
            check_text("product_retailer_id", product, 200)

    def json(self) -> dict[str, object]:
        """Graph's object."""
        items = [{"product_retailer_id": product} for product in self.product_retailer_ids]
        return given(title=self.title, product_items=items)


def check_product_sections(sections: Sequence[ProductSection]) -> None:
    """1 to 10 sections with together at most 30 products; shared with the product buttons of templates."""
    check_count("sections", sections, 1, 10)
    for section in sections:
        check_part("section", section, ProductSection)
        if len(sections) > 1 and section.title is None:
            refuse("section", "needs a title where there is more than one")
    check_count("products of all sections", [p for s in sections for p in s.product_retailer_ids], 1, 30)


class ProductList(Interactive, frozen=True, kw_only=True):
    """Up to 30 products of a catalog; Meta demands a header text."""

    interactive_kind: ClassVar[str] = "product_list"
    headers: ClassVar[tuple[str, ...]] = ("text",)
    catalog_id: str
    sections: tuple[ProductSection, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.header is None:
            refuse("header", "with a text is required for a list of products")
        check_text("catalog_id", self.catalog_id, 200)
        check_product_sections(self.sections)

    def action(self) -> dict[str, object]:
        """Graph's `action`."""
        return {"catalog_id": self.catalog_id, "sections": [section.json() for section in self.sections]}


class CatalogMessage(Interactive, frozen=True, kw_only=True):
    """A button that opens the whole catalog."""

    interactive_kind: ClassVar[str] = "catalog_message"
    thumbnail_product_retailer_id: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("thumbnail_product_retailer_id", self.thumbnail_product_retailer_id, 200, optional=True)

    def action(self) -> dict[str, object]:
        """Graph's `action`."""
        parameters = given(thumbnail_product_retailer_id=self.thumbnail_product_retailer_id)
        return given(name="catalog_message", parameters=parameters or None)


class Card(Part, frozen=True, kw_only=True):
    """A card of a `Carousel`: image or video, and either a link or 1 to 3 buttons."""

    header: Header
    body: str | None = None
    link_title: str | None = None
    link_url: str | None = None
    buttons: tuple[Button, ...] = ()

    def __post_init__(self) -> None:
        check_part("card header", self.header, Header)
        if self.header.kind not in {"image", "video"}:
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
        """What Meta wants to be alike on all cards."""
        return (self.header.kind, len(self.buttons))

    def json(self, index: int) -> dict[str, object]:
        """Graph's object."""
        action: dict[str, object] = {"buttons": [button.json("quick_reply") for button in self.buttons]}
        if self.link_url is not None:
            action = {"name": "cta_url", "parameters": {"display_text": self.link_title, "url": self.link_url}}
        return given(
            card_index=index,
            type="cta_url",
            header=self.header.json(),
            body=None if self.body is None else {"text": self.body},
            action=action,
        )


class ProductCard(Part, frozen=True):
    """A card of a `Carousel` that shows one product."""

    catalog_id: str
    product_retailer_id: str
    layout: ClassVar[tuple[object, ...]] = ("product",)

    def __post_init__(self) -> None:
        check_text("catalog_id", self.catalog_id, 200)
        check_text("product_retailer_id", self.product_retailer_id, 200)

    def json(self, index: int) -> dict[str, object]:
        """Graph's object."""
        action = {"catalog_id": self.catalog_id, "product_retailer_id": self.product_retailer_id}
        return {"card_index": index, "type": "product", "action": action}


class Carousel(Interactive, frozen=True, kw_only=True):
    """2 to 10 cards, all of one layout."""

    interactive_kind: ClassVar[str] = "carousel"
    cards: tuple[Card | ProductCard, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.footer is not None:
            refuse("footer", "does not go with a carousel")
        check_count("cards", self.cards, 2, 10)
        for card in self.cards:
            check_part("card", card, (Card, ProductCard))
        if len({card.layout for card in self.cards}) > 1:
            refuse("cards", "must all have the same kind of header and the same number of buttons")

    def action(self) -> dict[str, object]:
        """Graph's `action`."""
        return {"cards": [card.json(index) for index, card in enumerate(self.cards)]}
