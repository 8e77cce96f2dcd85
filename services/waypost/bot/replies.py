"""Replies of a script: up to five messages, checked against Meta's limits when the script is loaded.

Fixed texts that are too long are refused; what is filled in at the time of the turn is cut sensibly, so that a long
profile name never costs the reply. A message without placeholders is made once.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from waypost.bot.document import Item
from waypost.bot.placeholders import PlaceholderError, Text, Values, parse
from waypost.cloudapi import messages
from waypost.cloudapi.messages import InvalidMessage, Outgoing

MOST_MESSAGES = 5
"""Messages of one reply. Meta charges each, and lets 45 in a row through to one person at most."""

_TEXT = 4096
_BODY = 1024
_SHORT = 60
_PARAMETER = 1024
_LONGEST_URL = 2000
_URL_VALUE = 100
_MEDIA = ("image", "video", "audio", "document", "sticker")
_KINDS = ("text", *_MEDIA, "location", "template")
_EXTRAS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"buttons", "list", "link", "header", "footer", "preview"}),
    "image": frozenset({"caption"}),
    "video": frozenset({"caption"}),
    "document": frozenset({"caption", "filename"}),
}
_EVERY_KEY = frozenset(_KINDS).union(*_EXTRAS.values())


@dataclass(frozen=True, slots=True)
class Names:
    """What texts may refer to: the answers that steps store."""

    slots: frozenset[str]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a reply. `shown` are ids and titles of its buttons or rows, `place` its place in the script."""

    build: Callable[[Values], Outgoing]
    place: Item | None = None
    shown: Mapping[str, str] = field(default_factory=dict)
    made: Outgoing | None = None

    def render(self, values: Values) -> Outgoing:
        """The message for this moment."""
        return self.build(values) if self.made is None else self.made


Reply = tuple[Message, ...]


def read(item: Item, names: Names) -> Reply:
    """A text, a message or a list of them."""
    return tuple(_message(entry, names) for entry in item.items("message", most=MOST_MESSAGES))


def fixed(text: str) -> Reply:
    """One of our own texts."""
    made = messages.Text(text)
    return (Message(lambda _: made, made=made),)


def question(item: Item, names: Names, buttons: Mapping[str, str]) -> Reply:
    """A text with these buttons under it."""
    return (_checked(item, *_with_buttons(_text(item, names, _BODY), buttons, _Frame())),)


def _message(item: Item, names: Names) -> Message:
    if item.is_text:
        return _checked(item, *_plain(_text(item, names, _TEXT), preview=False))
    fields = item.fields(_EVERY_KEY)
    given = [kind for kind in _KINDS if kind in fields]
    if len(given) != 1:
        item.fail(f"give exactly one of {', '.join(_KINDS)}")
    kind = given[0]
    for key, value in fields.items():
        if key != kind and key not in _EXTRAS.get(kind, ()):
            value.fail(f"has no meaning beside {kind!r}; remove it")
    if kind in _MEDIA:
        return _checked(item, *_media(kind, fields, names))
    if kind == "location":
        return _checked(item, *_location(fields[kind]))
    if kind == "template":
        return _checked(item, *_template(fields[kind], names))
    return _checked(item, *_text_message(fields, names))


_Draft = tuple[Callable[[Values], Outgoing], bool, Mapping[str, str]]
"""How the message is made, whether it is always the same, and its buttons or rows."""


def _checked(item: Item, build: Callable[[Values], Outgoing], is_fixed: bool, shown: Mapping[str, str]) -> Message:
    try:
        specimen = build(Values())
    except InvalidMessage as error:
        item.fail(f"Meta would refuse this message: {error}; correct it")
    return Message(build, item, shown, made=specimen if is_fixed else None)


def _text(item: Item, names: Names, limit: int) -> Text:
    try:
        text = parse(item.text(most=limit), slots=names.slots, limit=limit)
    except PlaceholderError as error:
        item.fail(str(error))
    if text.may_be_blank:
        item.fail("may come out empty; add words, or what to say otherwise: {{profile_name|friend}}")
    return text


def _plain(text: Text, *, preview: bool) -> _Draft:
    return lambda values: messages.Text(text.render(values), preview_url=preview), text.is_fixed, {}


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands around the body of an interactive message."""

    header: Text | None = None
    footer: Text | None = None

    @property
    def is_fixed(self) -> bool:
        return all(text is None or text.is_fixed for text in (self.header, self.footer))

    def header_for(self, values: Values) -> messages.Header | None:
        return None if self.header is None else messages.Header(text=self.header.render(values))

    def footer_for(self, values: Values) -> str | None:
        return None if self.footer is None else self.footer.render(values)


def _text_message(fields: Mapping[str, Item], names: Names) -> _Draft:
    attachments = [key for key in ("buttons", "list", "link") if key in fields]
    if len(attachments) > 1:
        fields[attachments[1]].fail(f"cannot go together with {attachments[0]!r}; send two messages")
    if not attachments:
        for key in ("header", "footer"):
            if key in fields:
                fields[key].fail("needs buttons, list or link beside it; write it into the text")
        preview = fields["preview"].flag() if "preview" in fields else False
        return _plain(_text(fields["text"], names, _TEXT), preview=preview)
    if "preview" in fields:
        fields["preview"].fail(f"has no meaning beside {attachments[0]!r}; remove it")
    frame = _Frame(
        header=_text(fields["header"], names, _SHORT) if "header" in fields else None,
        footer=_text(fields["footer"], names, _SHORT) if "footer" in fields else None,
    )
    attached = fields[attachments[0]]
    if attachments == ["list"]:
        return _with_list(_text(fields["text"], names, _TEXT), attached, frame)
    body = _text(fields["text"], names, _BODY)
    if attachments == ["link"]:
        return _with_link(body, attached, frame, names)
    titles = {identity: _title(entry, 20) for identity, entry in attached.keyed("button", most=3).items()}
    return _with_buttons(body, titles, frame)


def _title(item: Item, most: int) -> str:
    title = item.text(most=most)
    if "{{" in title:
        item.fail("a title cannot hold placeholders; write it out")
    return title


def _with_buttons(body: Text, titles: Mapping[str, str], frame: _Frame) -> _Draft:
    def build(values: Values) -> Outgoing:
        return messages.Buttons(
            body=body.render(values),
            header=frame.header_for(values),
            footer=frame.footer_for(values),
            buttons=tuple(messages.Button(identity, title) for identity, title in titles.items()),
        )

    return build, body.is_fixed and frame.is_fixed, titles


def _with_list(body: Text, item: Item, frame: _Frame) -> _Draft:
    fields = item.fields({"button", "rows", "sections"}, required=("button",))
    if ("rows" in fields) == ("sections" in fields):
        item.fail("give either rows or sections")
    titles: dict[str, str] = {}
    if "rows" in fields:
        sections: list[tuple[str | None, list[tuple[str, str, str | None]]]] = [(None, _rows(fields["rows"], titles))]
    else:
        sections = []
        for entry in fields["sections"].items("section", most=10):
            parts = entry.fields({"title", "rows"}, required=("title", "rows"))
            sections.append((_title(parts["title"], 24), _rows(parts["rows"], titles)))
    button = _title(fields["button"], 20)

    def build(values: Values) -> Outgoing:
        return messages.List(
            body=body.render(values),
            header=frame.header_for(values),
            footer=frame.footer_for(values),
            button=button,
            sections=tuple(
                messages.Section(rows=tuple(messages.Row(*row) for row in rows), title=title)
                for title, rows in sections
            ),
        )

    return build, body.is_fixed and frame.is_fixed, titles


def _rows(item: Item, titles: dict[str, str]) -> list[tuple[str, str, str | None]]:
    rows: list[tuple[str, str, str | None]] = []
    for identity, entry in item.keyed("row", most=10).items():
        if identity in titles:
            entry.fail("is the id of another row of this list; give it another")
        if entry.is_mapping:
            fields = entry.fields({"title", "description"}, required=("title",))
            description = _title(fields["description"], 72) if "description" in fields else None
            titles[identity] = _title(fields["title"], 24)
            rows.append((identity, titles[identity], description))
        else:
            titles[identity] = _title(entry, 24)
            rows.append((identity, titles[identity], None))
    return rows


def _with_link(body: Text, item: Item, frame: _Frame, names: Names) -> _Draft:
    fields = item.fields({"title", "url"}, required=("title", "url"))
    title = _title(fields["title"], 20)
    url = _url(fields["url"], names)

    def build(values: Values) -> Outgoing:
        return messages.Link(
            body=body.render(values),
            header=frame.header_for(values),
            footer=frame.footer_for(values),
            title=title,
            url=url.render(values, _in_url),
        )

    return build, body.is_fixed and frame.is_fixed and url.is_fixed, {}


def _in_url(value: str) -> str:
    return quote(value[:_URL_VALUE], safe="")


def _url(item: Item, names: Names) -> Text:
    """An address; answers are put in percent-encoded, and only behind the host, which is the script's to choose."""
    try:
        text = parse(item.text(most=_LONGEST_URL), slots=names.slots, limit=_LONGEST_URL)
    except PlaceholderError as error:
        item.fail(str(error))
    if not text.is_fixed:
        if not isinstance(text.parts[0], str) or not re.match(r"https?://[^\s/?#]+[/?#]", text.parts[0]):
            item.fail("must begin with https:// and a host of its own; a placeholder may stand only behind them")
        fixed_length = sum(len(part) for part in text.parts if isinstance(part, str))
        gaps = sum(not isinstance(part, str) for part in text.parts)
        # A character is four bytes at most, and a byte three characters when encoded.
        if fixed_length + gaps * _URL_VALUE * 12 > _LONGEST_URL:
            item.fail("could come out longer than 2,000 characters; at most one placeholder and 800 other characters")
    return text


def _media(kind: str, fields: Mapping[str, Item], names: Names) -> _Draft:
    link = fields[kind].text(most=_LONGEST_URL)
    caption = _text(fields["caption"], names, _BODY) if "caption" in fields else None
    if kind in {"audio", "sticker"}:
        bare = messages.Audio if kind == "audio" else messages.Sticker
        return lambda _: bare(link=link), True, {}
    if kind == "document":
        filename = _title(fields["filename"], 240) if "filename" in fields else None
        return (
            lambda values: messages.Document(
                link=link, caption=None if caption is None else caption.render(values), filename=filename
            ),
            caption is None or caption.is_fixed,
            {},
        )
    seen = messages.Image if kind == "image" else messages.Video
    return (
        lambda values: seen(link=link, caption=None if caption is None else caption.render(values)),
        caption is None or caption.is_fixed,
        {},
    )


def _location(item: Item) -> _Draft:
    fields = item.fields({"latitude", "longitude", "name", "address"}, required=("latitude", "longitude"))
    latitude, longitude = float(fields["latitude"].number()), float(fields["longitude"].number())
    name, address = (fields[key].text(most=1000) if key in fields else None for key in ("name", "address"))
    return lambda _: messages.Location(latitude, longitude, name=name, address=address), True, {}


def _template(item: Item, names: Names) -> _Draft:
    fields = item.fields({"name", "language", "parameters"}, required=("name", "language"))
    name, language = fields["name"].text(most=512), fields["language"].text(most=20)
    parameters: list[tuple[str | None, Text]] = []
    if "parameters" in fields:
        given = fields["parameters"]
        if given.is_mapping:
            entries: list[tuple[str | None, Item]] = list(given.keyed("parameter", most=100).items())
        else:
            entries = [(None, entry) for entry in given.items("parameter", most=100)]
        parameters = [(label, _text(entry, names, _PARAMETER)) for label, entry in entries]

    def build(values: Values) -> Outgoing:
        return messages.Template(
            name=name,
            language=language,
            body=tuple(
                messages.TextParameter(_on_one_line(text.render(values)), name=label) for label, text in parameters
            ),
        )

    return build, all(text.is_fixed for _, text in parameters), {}


def _on_one_line(text: str) -> str:
    """Meta refuses line breaks, tabs and wide gaps in a template's parameter (132012)."""
    return " ".join(text.split())
