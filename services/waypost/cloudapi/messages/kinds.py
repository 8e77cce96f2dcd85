"""Plain message kinds, with one class per kind. `addressed` adds the recipient to a message.

Interactive messages are in `interactive`, templates in `template`. Sources: Meta's "Service messages"
(2026-04-23), "Media" (2026-04-17) and "Business-scoped user IDs" (2026-05-07).
"""

import re
from collections.abc import Mapping
from typing import ClassVar

from waypost.cloudapi.message_types import MessageType
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
    refuse,
    without_none,
)

CALLBACK_DATA_LIMIT = 512


class Text(Outgoing, frozen=True):
    """A text message. The text may use WhatsApp's formatting marks such as `*bold*`."""

    kind: ClassVar[str] = MessageType.TEXT
    body: str
    preview_url: bool = False
    """Whether WhatsApp shows a preview of the first link in the text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("text", self.body, 4096)

    def content(self) -> dict[str, object]:
        """Returns the value of the member `text` of Meta's JSON."""
        return {"body": self.body, "preview_url": self.preview_url}

    def readable(self) -> str:
        """Returns the text of the message."""
        return self.body


class _MediaMessage(Outgoing, frozen=True, kw_only=True):
    id: str | None = None
    link: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        Media(id=self.id, link=self.link)

    def content(self) -> dict[str, object]:
        """Returns the media object as Meta's JSON."""
        return without_none(id=self.id, link=self.link)


class _Captioned(_MediaMessage, frozen=True, kw_only=True):
    caption: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("caption", self.caption, 1024, optional=True)

    def content(self) -> dict[str, object]:
        """Returns the media object as Meta's JSON, with its caption."""
        return super().content() | without_none(caption=self.caption)

    def readable(self) -> str:
        """Returns the caption, or "" if the message has none."""
        return self.caption or ""


class Image(_Captioned, frozen=True, kw_only=True):
    """An image. It must be a JPEG or PNG of at most 5 MB."""

    kind: ClassVar[str] = MessageType.IMAGE


class Video(_Captioned, frozen=True, kw_only=True):
    """A video. It must be an MP4 or 3GP of at most 16 MB."""

    kind: ClassVar[str] = MessageType.VIDEO


class Audio(_MediaMessage, frozen=True, kw_only=True):
    """An audio file of at most 16 MB."""

    kind: ClassVar[str] = MessageType.AUDIO
    voice: bool = False
    """Whether WhatsApp shows the file as a voice message, which requires Ogg with Opus."""

    def content(self) -> dict[str, object]:
        """Returns the value of the member `audio` of Meta's JSON."""
        return super().content() | without_none(voice=True if self.voice else None)


class Document(_Captioned, frozen=True, kw_only=True):
    """A file of any type, of at most 100 MB."""

    kind: ClassVar[str] = MessageType.DOCUMENT
    filename: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_text("filename", self.filename, 240, optional=True)

    def content(self) -> dict[str, object]:
        """Returns the value of the member `document` of Meta's JSON."""
        return super().content() | without_none(filename=self.filename)


class Sticker(_MediaMessage, frozen=True, kw_only=True):
    """A sticker. It must be a WebP of at most 100 KB, or of at most 500 KB if it is animated."""

    kind: ClassVar[str] = MessageType.STICKER


class Location(Outgoing, frozen=True):
    """A point on the map, in degrees (WGS 84)."""

    kind: ClassVar[str] = MessageType.LOCATION
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
        """Returns the value of the member `location` of Meta's JSON."""
        return without_none(latitude=self.latitude, longitude=self.longitude, name=self.name, address=self.address)

    def readable(self) -> str:
        """Returns the name and the address of the location."""
        return ", ".join(part for part in (self.name, self.address) if part)


class Reaction(Outgoing, frozen=True):
    """An emoji as a reaction to a message of the contact. An empty emoji removes the reaction."""

    kind: ClassVar[str] = MessageType.REACTION
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
        """Returns the value of the member `reaction` of Meta's JSON."""
        return {"message_id": self.message_id, "emoji": self.emoji}

    def readable(self) -> str:
        """Returns the emoji of the reaction."""
        return self.emoji


class Phone(Part, frozen=True, kw_only=True):
    """A telephone number on a contact card. If `wa_id` is set, WhatsApp offers to write to the person."""

    phone: str
    type: str | None = None
    wa_id: str | None = None


class Email(Part, frozen=True, kw_only=True):
    """An e-mail address on a contact card."""

    email: str
    type: str | None = None


class Url(Part, frozen=True, kw_only=True):
    """A web address on a contact card."""

    url: str
    type: str | None = None


class Address(Part, frozen=True, kw_only=True):
    """A postal address on a contact card."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    country_code: str | None = None
    type: str | None = None


class Organization(Part, frozen=True, kw_only=True):
    """The employer of the person on a contact card."""

    company: str | None = None
    department: str | None = None
    title: str | None = None


class ContactCard(Part, frozen=True, kw_only=True):
    """A person's card. Besides `formatted_name`, Meta requires at least one other name."""

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
    """The person's birthday, written as `YYYY-MM-DD`."""

    def __post_init__(self) -> None:
        check_text("formatted_name", self.formatted_name, 1000)
        if not any((self.first_name, self.middle_name, self.last_name, self.prefix, self.suffix)):
            refuse("contact", "needs another name besides formatted_name")
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
        """Returns the card as Meta's JSON."""
        names = ("formatted_name", "first_name", "middle_name", "last_name", "prefix", "suffix")
        card: dict[str, object] = {"name": _fields(self, names)}
        for name in ("phones", "emails", "urls", "addresses"):
            if entries := getattr(self, name):
                card[name] = [_fields(entry, entry.__struct_fields__) for entry in entries]
        if self.org is not None:
            card["org"] = _fields(self.org, self.org.__struct_fields__)
        return card | without_none(birthday=self.birthday)


def _fields(part: Part, names: tuple[str, ...]) -> dict[str, object]:
    return without_none(**{name: getattr(part, name) for name in names})


class Contacts(Outgoing, frozen=True):
    """A message with 1 to 257 contact cards."""

    kind: ClassVar[str] = MessageType.CONTACTS
    cards: tuple[ContactCard, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("contacts", self.cards, 1, 257)
        for card in self.cards:
            check_part("contact", card, ContactCard)

    def content(self) -> list[object]:
        """Returns the cards as Meta's JSON list."""
        return [card.json() for card in self.cards]

    def readable(self) -> str:
        """Returns the names on the cards."""
        return ", ".join(card.formatted_name for card in self.cards)


def addressed(
    body: Mapping[str, object], *, to: str | None, recipient: str | None, callback_data: str
) -> dict[str, object]:
    """Returns `body` (an `Outgoing.payload()`) with its recipient, ready for `client.send`.

    `to` is a phone number with country code, with or without "+". The number is always sent with "+", because
    without it Meta puts the country code of the business number before the number. `recipient` is a BSUID. One of
    the two is enough. If both are given, Meta uses `to`, so only `to` is sent. Meta returns `callback_data` with
    every status as `biz_opaque_callback_data`.

    Raises `InvalidMessage` if there is no usable recipient, or if the callback data has more than 512 characters.
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
        refuse("callback_data", f"has {len(callback_data)} characters; Meta accepts at most {CALLBACK_DATA_LIMIT}")
    return message | dict(body) | {"biz_opaque_callback_data": callback_data}
