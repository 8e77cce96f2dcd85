"""Checks Meta's limits, and defines the base classes of all outgoing messages.

A message is checked when it is created. A mistake therefore causes an error where it was made (in a script,
a plugin, or the template of a schedule) and not hours later at Meta. The limits come from Meta's "Messages"
pages. Lengths are in characters.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Never

import msgspec

_SURROGATE = re.compile("[\ud800-\udfff]")


class InvalidMessage(ValueError):
    """A message that Meta would refuse. A retry does not help.

    The error message names the part of the message and the reason, never the content of the part.
    """


def refuse(name: str, problem: str) -> Never:
    """Raises `InvalidMessage`. `name` is the part of the message that has the problem."""
    raise InvalidMessage(f"{name} {problem}")


def check_text(name: str, value: object, most: int, *, optional: bool = False) -> None:
    """Raises `InvalidMessage` unless the value is a text of 1 to `most` characters.

    The text must not be blank, and must be valid in UTF-8.
    """
    if value is None and optional:
        return
    if not isinstance(value, str):
        refuse(name, "must be a text")
    if not value.strip():
        refuse(name, "must not be empty")
    if len(value) > most:
        refuse(name, f"has {len(value)} characters; Meta accepts at most {most}")
    if not value.isascii() and _SURROGATE.search(value):
        refuse(name, "contains half of a surrogate pair, which is not a character")


def check_count(name: str, values: object, least: int, most: int) -> None:
    """Raises `InvalidMessage` unless the value is a list or tuple of `least` to `most` entries."""
    if not isinstance(values, list | tuple):
        refuse(name, "must be a list")
    if not least <= len(values) <= most:
        refuse(name, f"has {len(values)} entries; Meta accepts {least} to {most}")


def check_unique(name: str, values: Iterable[str]) -> None:
    """Raises `InvalidMessage` if a value occurs twice."""
    seen = list(values)
    if len(set(seen)) != len(seen):
        refuse(name, "must be unique within the message")


def check_link(name: str, value: object) -> None:
    """Raises `InvalidMessage` unless the value is an `http` or `https` address of at most 2,000 characters."""
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/?#]+\S*", value) or len(value) > 2000:
        refuse(name, "must be an address that begins with https:// or http://")
    check_text(name, value, 2000)


def check_integer(name: str, value: object, least: int, most: int) -> None:
    """Raises `InvalidMessage` unless the value is a whole number within the bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        refuse(name, f"must be a whole number from {least} to {most}")


def check_coordinate(name: str, value: object, most: float) -> None:
    """Raises `InvalidMessage` unless the value is a finite number of degrees between -`most` and `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or abs(value) > most:
        refuse(name, f"must be a number of degrees from -{most:g} to {most:g}")


def check_part(name: str, value: object, kinds: type | tuple[type, ...]) -> None:
    """Raises `InvalidMessage` unless the value is an instance of one of the given classes.

    So a mapping that is passed by mistake fails at once.
    """
    if not isinstance(value, kinds):
        allowed = kinds if isinstance(kinds, tuple) else (kinds,)
        refuse(name, "must be " + " or ".join(kind.__name__ for kind in allowed))


def check_json(name: str, value: object) -> None:
    """Raises `InvalidMessage` unless the value can be written as JSON."""
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError):
        refuse(name, "cannot be written as JSON")


def without_none(**values: object) -> dict[str, object]:
    """Returns the given members in order, without those that are None. Meta refuses explicit nulls in some places."""
    return {name: value for name, value in values.items() if value is not None}


def typed(kind: str, value: object) -> dict[str, object]:
    """Returns a value in the form that Meta uses most.

    The form has the member `type` and a second member. The type is the name of the second member, and the value
    is its content.
    """
    name = str(kind)  # An enum member becomes plain text, which every encoder accepts.
    return {"type": name, name: value}


class Part(msgspec.Struct, frozen=True):
    """Base class of messages and of their parts.

    The `repr` of a part shows no content, because messages must not appear in logs.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Media(Part, frozen=True, kw_only=True):
    """A media object. It is given either by the id of an upload or by a public link.

    The id is valid for 30 days and for one number. Meta caches the link for 10 minutes.
    """

    id: str | None = None
    link: str | None = None

    def __post_init__(self) -> None:
        if (self.id is None) == (self.link is None):
            refuse("media", "needs either an id or a link")
        if self.link is not None:
            check_link("media link", self.link)
        check_text("media id", self.id, 200, optional=True)

    def json(self) -> dict[str, object]:
        """Returns the media object as Meta's JSON."""
        return without_none(id=self.id, link=self.link)


class Outgoing(Part, frozen=True, kw_only=True):
    """A message without a recipient. Every subclass raises `InvalidMessage` when it is created with invalid values."""

    kind: ClassVar[str]
    """The message type, such as `text`."""

    reply_to: str | None = None
    """The wamid of the message that this one quotes."""

    def content(self) -> Mapping[str, object] | Sequence[object]:
        """Returns the content of the message. It is the value of the member that is named after the message's type."""
        raise NotImplementedError

    def readable(self) -> str:
        """Returns the text that a person would read, for transcripts. It may be empty."""
        return ""

    def payload(self) -> dict[str, object]:
        """Returns the message as Meta's JSON, without the recipient. `addressed` adds the recipient."""
        body = typed(self.kind, self.content())
        if self.reply_to is not None:
            body["context"] = {"message_id": self.reply_to}
        return body

    def __post_init__(self) -> None:
        check_text("reply_to", self.reply_to, 400, optional=True)
