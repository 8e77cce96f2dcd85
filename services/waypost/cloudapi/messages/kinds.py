"""Outgoing messages, one type per kind, and how they are addressed.

Interactive kinds are in `interactive`, templates in `template`.

Sources: Meta's "Service messages" (2026-04-23), "Media" (2026-04-17) and "Business-scoped user IDs" (2026-05-07).
"""

import re
from collections.abc import Mapping
from typing import ClassVar

from waypost.cloudapi.messages.bsuid import BSUID
from waypost.cloudapi.messages.checks import (
    Media,
    Outgoing,
    Part,
    check_coordinate,
    check_count,
    check_link,
    check_part,
    check_text,
    given,
    refuse,
)

CALLBACK_DATA_LIMIT = 512


class Text(Outgoing, frozen=True):
    """Plain text, with WhatsApp's own marks for bold and the like."""

    kind: ClassVar[str] = "text"
    body: str
    preview_url: bool = False
    """Show a preview of the first link."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("text", self.body, 4096)

    def content(self) -> dict[str, object]:
        """Graph's object."""
        return {"body": self.body, "preview_url": self.preview_url}

    def readable(self) -> str:
        """The text."""
        return self.body


class _MediaMessage(Outgoing, frozen=True, kw_only=True):
    id: str | None = None
    link: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        Media(id=self.id, link=self.link)

    def content(self) -> dict[str, object]:
        """Graph's object."""
        return given(id=self.id, link=self.link)


class _Captioned(_MediaMessage, frozen=True, kw_only=True):
    caption: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("caption", self.caption, 1024, optional=True)

    def content(self) -> dict[str, object]:
        """Graph's object."""
        return super().content() | given(caption=self.caption)

    def readable(self) -> str:
        """The caption."""
        return self.caption or ""


class Image(_Captioned, frozen=True, kw_only=True):
    """JPEG or PNG, at most 5 MB."""

    kind: ClassVar[str] = "image"


class Video(_Captioned, frozen=True, kw_only=True):
    """MP4 or 3GP, at most 16 MB."""

    kind: ClassVar[str] = "video"


class Audio(_MediaMessage, frozen=True, kw_only=True):
    """Sound, at most 16 MB."""

    kind: ClassVar[str] = "audio"
    voice: bool = False
    """Show it as a voice message; needs Ogg with Opus."""

    def content(self) -> dict[str, object]:
        """Graph's object."""
        return super().content() | given(voice=True if self.voice else None)


class Document(_Captioned, frozen=True, kw_only=True):
    """A file, at most 100 MB."""

    kind: ClassVar[str] = "document"
    filename: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("filename", self.filename, 240, optional=True)

    def content(self) -> dict[str, object]:
        """Graph's object."""
        return super().content() | given(filename=self.filename)


class Sticker(_MediaMessage, frozen=True, kw_only=True):
    """WebP, at most 100 KB, or 500 KB when animated."""

    kind: ClassVar[str] = "sticker"


class Location(Outgoing, frozen=True):
    """A point on the map; degrees, WGS 84."""

    kind: ClassVar[str] = "location"
    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_coordinate("latitude", self.latitude, 90)
        check_coordinate("longitude", self.longitude, 180)
        check_text("name", self.name, 1000, optional=True)
        check_text("address", self.address, 1000, optional=True)

    def content(self) -> dict[str, object]:
        """Graph's object."""
        return given(latitude=self.latitude, longitude=self.longitude, name=self.name, address=self.address)

    def readable(self) -> str:
        """Name and address."""
        return ", ".join(part for part in (self.name, self.address) if part)


class Reaction(Outgoing, frozen=True):
    """An emoji on a message of the contact; the empty one takes it away."""

    kind: ClassVar[str] = "reaction"
    message_id: str
    emoji: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("message_id", self.message_id, 400)
        if self.reply_to is not None:
            refuse("reply_to", "cannot be used with a reaction, which names its message itself")
        if self.emoji != "":
            check_text("emoji", self.emoji, 40)

    def content(self) -> dict[str, object]:
        """Graph's object."""
        return {"message_id": self.message_id, "emoji": self.emoji}

    def readable(self) -> str:
        """The emoji."""
        return self.emoji


class Phone(Part, frozen=True, kw_only=True):
    """A telephone number of a card; with `wa_id` WhatsApp offers to write to it."""

    phone: str
    type: str | None = None
    wa_id: str | None = None


class Email(Part, frozen=True, kw_only=True):
    """A mail address of a card."""

    email: str
    type: str | None = None


class Url(Part, frozen=True, kw_only=True):
    """A web address of a card."""

    url: str
    type: str | None = None


class Address(Part, frozen=True, kw_only=True):
    """A postal address of a card."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    country_code: str | None = None
    type: str | None = None


class Organization(Part, frozen=True, kw_only=True):
    """Where the person of a card works."""

    company: str | None = None
    department: str | None = None
    title: str | None = None


class ContactCard(Part, frozen=True, kw_only=True):
    """A person's card. Meta wants at least one more name than `formatted_name`."""

    formatted_name: str
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    phones: tuple[Phone, ...] = ()
    emails: tuple[Email, ...] = ()
    urls: tuple[Url, ...] = ()
    addresses: tuple[Address, ...] = ()
    org: Organization | None = None
    birthday: str | None = None
    """`YYYY-MM-DD`."""

    def __post_init__(self) -> None:
        check_text("formatted_name", self.formatted_name, 1000)
        if not any((self.first_name, self.middle_name, self.last_name, self.prefix, self.suffix)):
            refuse("contact", "needs one more name beside formatted_name")
        if self.birthday is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", self.birthday):
            refuse("birthday", "must be written as YYYY-MM-DD")
        lists = {"phones": Phone, "emails": Email, "urls": Url, "addresses": Address}
        for name, kind in lists.items():
            check_count(name, getattr(self, name), 0, 100)
            for entry in getattr(self, name):
                check_part(name, entry, kind)
        for url in self.urls:
            check_link("url", url.url)

    def json(self) -> dict[str, object]:
        """Graph's object."""
        names = ("formatted_name", "first_name", "middle_name", "last_name", "prefix", "suffix")
        card: dict[str, object] = {"name": _fields(self, names)}
        for name in ("phones", "emails", "urls", "addresses"):
            if entries := getattr(self, name):
                card[name] = [_fields(entry, entry.__struct_fields__) for entry in entries]
        if self.org is not None:
            card["org"] = _fields(self.org, self.org.__struct_fields__)
        return card | given(birthday=self.birthday)


def _fields(part: Part, names: tuple[str, ...]) -> dict[str, object]:
    return given(**{name: getattr(part, name) for name in names})


class Contacts(Outgoing, frozen=True):
    """1 to 257 cards."""

    kind: ClassVar[str] = "contacts"
    cards: tuple[ContactCard, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("contacts", self.cards, 1, 257)
        for card in self.cards:
            check_part("contact", card, ContactCard)

    def content(self) -> list[object]:
        """Graph's list."""
        return [card.json() for card in self.cards]

    def readable(self) -> str:
        """The names."""
        return ", ".join(card.formatted_name for card in self.cards)


def addressed(
    body: Mapping[str, object], *, to: str | None, recipient: str | None, callback_data: str
) -> dict[str, object]:
    """`body` (an `Outgoing.payload()`) made ready for `client.send`.

    `to` is a phone number with country code, with or without "+"; it is always sent with "+", for without it Meta puts
    the business number's country code in front. `recipient` is a BSUID. One of them is enough; with both Meta takes
    `to`, so only that is sent. `callback_data` comes back on every status as `biz_opaque_callback_data`.

    Raises `InvalidMessage` without a usable recipient, or for callback data over 512 characters.
    """
    message: dict[str, object] = {"messaging_product": "whatsapp", "recipient_type": "individual"}
    if to:
        digits = to.removeprefix("+")
        if not re.fullmatch(r"[1-9][0-9]{4,19}", digits):
            refuse("to", "must be a phone number with country code, digits only after the +")
        message["to"] = f"+{digits}"
    elif recipient:
        if not BSUID.fullmatch(recipient):
            refuse("recipient", "must be a business-scoped user id")
        message["recipient"] = recipient
    else:
        refuse("recipient", "is missing: neither a phone number nor a business-scoped user id is known")
    if len(callback_data) > CALLBACK_DATA_LIMIT:
        refuse("callback_data", f"has {len(callback_data)} characters; Meta takes {CALLBACK_DATA_LIMIT}")
    return message | dict(body) | {"biz_opaque_callback_data": callback_data}
