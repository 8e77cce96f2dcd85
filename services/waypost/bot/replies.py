"""Replies of a script. A reply has up to five messages, which are checked when the script is loaded.

The limits are Meta's. Fixed texts that are too long are refused. Values that are inserted later are
shortened, so that a long profile name never makes a reply fail. A message without placeholders is built only
once.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from waypost.bot.document import Node
from waypost.bot.placeholders import CompiledText, PlaceholderError, Values, parse
from waypost.cloudapi import messages
from waypost.cloudapi.message_types import MEDIA_TYPES, MessageType
from waypost.cloudapi.messages import InvalidMessage, Outgoing

MOST_MESSAGES = 5
"""The most messages in one reply. Meta charges for each message, and accepts at most 45 in a row to one person."""

_TEXT = 4096
_BODY = 1024
_SHORT = 60
_PARAMETER = 1024
_LONGEST_URL = 2000
_URL_VALUE = 100
_TYPES = (MessageType.TEXT, *MEDIA_TYPES, MessageType.LOCATION, MessageType.TEMPLATE)
"""The message types that a script can send. In the script, each type is the key under which its content stands."""
_OPTIONAL_KEYS: Mapping[MessageType, frozenset[str]] = {
    MessageType.TEXT: frozenset({"buttons", "list", "link", "header", "footer", "preview"}),
    MessageType.IMAGE: frozenset({"caption"}),
    MessageType.VIDEO: frozenset({"caption"}),
    MessageType.DOCUMENT: frozenset({"caption", "filename"}),
}
_ALL_KEYS = frozenset(map(str, _TYPES)).union(*_OPTIONAL_KEYS.values())


@dataclass(frozen=True, slots=True)
class Names:
    """The names that texts may refer to. They are the names of the answers that steps store."""

    slots: frozenset[str]


@dataclass(frozen=True, slots=True)
class ScriptedMessage:
    """One message of a reply.

    `options` maps the ids of the message's buttons or rows to their titles. `place` says where the script defines
    these options.
    """

    build: Callable[[Values], Outgoing]
    place: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    rendered: Outgoing | None = None

    def render(self, values: Values) -> Outgoing:
        """Returns the message with its placeholders filled."""
        return self.build(values) if self.rendered is None else self.rendered


ScriptedReply = tuple[ScriptedMessage, ...]


def read(node: Node, names: Names) -> ScriptedReply:
    """Reads a reply from the script: a text, a message, or a list of texts and messages."""
    return tuple(_message(entry, names) for entry in node.items("message", most=MOST_MESSAGES))


def fixed(text: str) -> ScriptedReply:
    """Returns a reply with one text. The text comes from the code, not from a script."""
    rendered = messages.Text(text)
    return (ScriptedMessage(lambda _: rendered, rendered=rendered),)


def question(node: Node, names: Names, buttons: Mapping[str, str]) -> ScriptedReply:
    """Reads the text of a question from the script and puts the given buttons under it."""
    return (_checked(node, *_with_buttons(_text(node, names, _BODY), buttons, _Frame())),)


def _message(node: Node, names: Names) -> ScriptedMessage:
    if node.is_text:
        return _checked(node, *_plain(_text(node, names, _TEXT), preview=False))
    fields = node.fields(_ALL_KEYS)
    given = [type_ for type_ in _TYPES if type_ in fields]
    if len(given) != 1:
        node.fail(f"give exactly one of {', '.join(_TYPES)}")
    type_ = given[0]
    for key, value in fields.items():
        if key != type_ and key not in _OPTIONAL_KEYS.get(type_, ()):
            value.fail(f"cannot be used with '{type_}'; remove it")
    if type_ in MEDIA_TYPES:
        return _checked(node, *_media(type_, fields, names))
    if type_ is MessageType.LOCATION:
        return _checked(node, *_location(fields[type_]))
    if type_ is MessageType.TEMPLATE:
        return _checked(node, *_template(fields[type_], names))
    return _checked(node, *_text_message(fields, names))


_Draft = tuple[Callable[[Values], Outgoing], bool, Mapping[str, str]]
"""The three parts of a message: the function that builds it, whether the result is always the same, and its buttons or
rows."""


def _checked(
    node: Node, build: Callable[[Values], Outgoing], is_fixed: bool, options: Mapping[str, str]
) -> ScriptedMessage:
    try:
        specimen = build(Values())
    except InvalidMessage as error:
        node.fail(f"Meta would refuse this message: {error}; correct it")
    # Not the node itself: it would take more memory than the rest of the message.
    place = node.place if options else ""
    return ScriptedMessage(build, place, options, rendered=specimen if is_fixed else None)


def _text(node: Node, names: Names, limit: int) -> CompiledText:
    try:
        text = parse(node.text(most=limit), slots=names.slots, limit=limit)
    except PlaceholderError as error:
        node.fail(str(error))
    if text.may_be_blank:
        node.fail("may be empty when it is sent; add words or a default: {{profile_name|friend}}")
    return text


def _plain(text: CompiledText, *, preview: bool) -> _Draft:
    return lambda values: messages.Text(text.render(values), preview_url=preview), text.is_fixed, {}


@dataclass(frozen=True, slots=True)
class _Frame:
    """The header and footer of an interactive message."""

    header: CompiledText | None = None
    footer: CompiledText | None = None

    @property
    def is_fixed(self) -> bool:
        return all(text is None or text.is_fixed for text in (self.header, self.footer))

    def header_for(self, values: Values) -> messages.Header | None:
        return None if self.header is None else messages.Header(text=self.header.render(values))

    def footer_for(self, values: Values) -> str | None:
        return None if self.footer is None else self.footer.render(values)


def _text_message(fields: Mapping[str, Node], names: Names) -> _Draft:
    attachments = [key for key in ("buttons", "list", "link") if key in fields]
    if len(attachments) > 1:
        fields[attachments[1]].fail(f"cannot be combined with {attachments[0]!r}; send two messages")
    if not attachments:
        for key in ("header", "footer"):
            if key in fields:
                fields[key].fail("needs buttons, list or link as well; without them, write it into the text")
        preview = fields["preview"].flag() if "preview" in fields else False
        return _plain(_text(fields["text"], names, _TEXT), preview=preview)
    if "preview" in fields:
        fields["preview"].fail(f"cannot be used with {attachments[0]!r}; remove it")
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


def _title(node: Node, most: int) -> str:
    title = node.text(most=most)
    if "{{" in title:
        node.fail("a title cannot contain placeholders; write it out")
    return title


def _with_buttons(body: CompiledText, titles: Mapping[str, str], frame: _Frame) -> _Draft:
    def build(values: Values) -> Outgoing:
        return messages.Buttons(
            body=body.render(values),
            header=frame.header_for(values),
            footer=frame.footer_for(values),
            buttons=tuple(messages.Button(identity, title) for identity, title in titles.items()),
        )

    return build, body.is_fixed and frame.is_fixed, titles


def _with_list(body: CompiledText, node: Node, frame: _Frame) -> _Draft:
    fields = node.fields({"button", "rows", "sections"}, required=("button",))
    if ("rows" in fields) == ("sections" in fields):
        node.fail("give either rows or sections")
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


def _rows(node: Node, titles: dict[str, str]) -> list[tuple[str, str, str | None]]:
    rows: list[tuple[str, str, str | None]] = []
    for identity, entry in node.keyed("row", most=10).items():
        if identity in titles:
            entry.fail("is already the id of another row of this list; choose another id")
        if entry.is_mapping:
            fields = entry.fields({"title", "description"}, required=("title",))
            description = _title(fields["description"], 72) if "description" in fields else None
            titles[identity] = _title(fields["title"], 24)
            rows.append((identity, titles[identity], description))
        else:
            titles[identity] = _title(entry, 24)
            rows.append((identity, titles[identity], None))
    return rows


def _with_link(body: CompiledText, node: Node, frame: _Frame, names: Names) -> _Draft:
    fields = node.fields({"title", "url"}, required=("title", "url"))
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


def _url(node: Node, names: Names) -> CompiledText:
    """Reads a web address from the script.

    The scheme and the host must be fixed text. Answers may be inserted only after the host. Inserted answers are
    percent-encoded.
    """
    try:
        text = parse(node.text(most=_LONGEST_URL), slots=names.slots, limit=_LONGEST_URL)
    except PlaceholderError as error:
        node.fail(str(error))
    if not text.is_fixed:
        if not isinstance(text.parts[0], str) or not re.match(r"https?://[^\s/?#]+[/?#]", text.parts[0]):
            node.fail("must begin with https:// and a host; placeholders may only come after them")
        fixed_length = sum(len(part) for part in text.parts if isinstance(part, str))
        gaps = sum(not isinstance(part, str) for part in text.parts)
        # A character has at most four bytes, and an encoded byte three characters.
        if fixed_length + gaps * _URL_VALUE * 12 > _LONGEST_URL:
            node.fail("could become longer than 2,000 characters; use at most one placeholder and 800 other characters")
    return text


def _media(type_: MessageType, fields: Mapping[str, Node], names: Names) -> _Draft:
    link = fields[type_].text(most=_LONGEST_URL)
    caption = _text(fields["caption"], names, _BODY) if "caption" in fields else None
    if type_ in (MessageType.AUDIO, MessageType.STICKER):
        without_caption = messages.Audio if type_ is MessageType.AUDIO else messages.Sticker
        return lambda _: without_caption(link=link), True, {}
    if type_ is MessageType.DOCUMENT:
        filename = _title(fields["filename"], 240) if "filename" in fields else None
        return (
            lambda values: messages.Document(
                link=link, caption=None if caption is None else caption.render(values), filename=filename
            ),
            caption is None or caption.is_fixed,
            {},
        )
    with_caption = messages.Image if type_ is MessageType.IMAGE else messages.Video
    return (
        lambda values: with_caption(link=link, caption=None if caption is None else caption.render(values)),
        caption is None or caption.is_fixed,
        {},
    )


def _location(node: Node) -> _Draft:
    fields = node.fields({"latitude", "longitude", "name", "address"}, required=("latitude", "longitude"))
    latitude, longitude = float(fields["latitude"].number()), float(fields["longitude"].number())
    name, address = (fields[key].text(most=1000) if key in fields else None for key in ("name", "address"))
    return lambda _: messages.Location(latitude, longitude, name=name, address=address), True, {}


def _template(node: Node, names: Names) -> _Draft:
    fields = node.fields({"name", "language", "parameters"}, required=("name", "language"))
    name, language = fields["name"].text(most=512), fields["language"].text(most=20)
    parameters: list[tuple[str | None, CompiledText]] = []
    if "parameters" in fields:
        given = fields["parameters"]
        if given.is_mapping:
            nodes: list[tuple[str | None, Node]] = list(given.keyed("parameter", most=100).items())
        else:
            nodes = [(None, entry) for entry in given.items("parameter", most=100)]
        parameters = [(label, _text(entry, names, _PARAMETER)) for label, entry in nodes]

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
    """Joins all words of a text with single spaces.

    Meta refuses a parameter with line breaks, tabs or wide gaps. Meta's error code is 132012.
    """
    return " ".join(text.split())
