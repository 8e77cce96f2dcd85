"""What all outgoing messages share: the checks of Meta's limits, and the shape of a message without its recipient.

A message is checked when it is made, so that a wrong one fails where it is written (a script, a plugin, a template of
a schedule) and not hours later at Meta. Limits are those of Meta's "Messages" pages; lengths are in characters.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Never

import msgspec


class InvalidMessage(ValueError):
    """A message that Meta would refuse; says which part and why, never what it holds. Sending it again is no use."""


def refuse(name: str, problem: str) -> Never:
    """Raise `InvalidMessage` for the part called `name`."""
    raise InvalidMessage(f"{name} {problem}")


def check_text(name: str, value: object, most: int, *, optional: bool = False) -> None:
    """A text of 1 to `most` characters that is not blank and can be written as UTF-8."""
    if value is None and optional:
        return
    if not isinstance(value, str):
        refuse(name, "must be a text")
    if not value.strip():
        refuse(name, "must not be empty")
    if len(value) > most:
        refuse(name, f"has {len(value)} characters; Meta takes {most}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        refuse(name, "holds half of a surrogate pair, which is no character")


def check_count(name: str, values: object, least: int, most: int) -> None:
    """A list or tuple of `least` to `most` entries."""
    if not isinstance(values, list | tuple):
        refuse(name, "must be a list")
    if not least <= len(values) <= most:
        refuse(name, f"has {len(values)} entries; Meta takes {least} to {most}")


def check_unique(name: str, values: Iterable[str]) -> None:
    """No value twice."""
    seen = list(values)
    if len(set(seen)) != len(seen):
        refuse(name, "must be unique within the message")


def check_link(name: str, value: object) -> None:
    """An `http` or `https` address of at most 2,000 characters."""
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/?#]+\S*", value) or len(value) > 2000:
        refuse(name, "must be an address that begins with https:// or http://")
    check_text(name, value, 2000)


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """A whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        refuse(name, f"must be a whole number from {least} to {most}")


def check_coordinate(name: str, value: object, most: float) -> None:
    """A finite number of degrees, at most `most` to either side."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or abs(value) > most:
        refuse(name, f"must be a number of degrees from -{most:g} to {most:g}")


def check_part(name: str, value: object, kinds: type | tuple[type, ...]) -> None:
    """An instance of one of our own types, so that a mapping given by mistake is told at once."""
    if not isinstance(value, kinds):
        allowed = kinds if isinstance(kinds, tuple) else (kinds,)
        refuse(name, "must be " + " or ".join(kind.__name__ for kind in allowed))


def check_json(name: str, value: object) -> None:
    """Something that can be written as JSON."""
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError):
        refuse(name, "cannot be written as JSON")


def given(**values: object) -> dict[str, object]:
    """The values that are not None, in order; Meta refuses explicit nulls in places."""
    return {name: value for name, value in values.items() if value is not None}


class Part(msgspec.Struct, frozen=True):
    """A message or a piece of one. Its `repr` is silent, for what people are told has no place in a log."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Media(Part, frozen=True, kw_only=True):
    """Media by the id of an upload (30 days, same number) or by a public link, which Meta caches for 10 minutes."""

    id: str | None = None
    link: str | None = None

    def __post_init__(self) -> None:
        if (self.id is None) == (self.link is None):
            refuse("media", "needs either an id or a link")
        if self.link is not None:
            check_link("media link", self.link)
        check_text("media id", self.id, 200, optional=True)

    def json(self) -> dict[str, object]:
        """Graph's object."""
        return given(id=self.id, link=self.link)


class Outgoing(Part, frozen=True, kw_only=True):
    """A message without recipient. Every kind raises `InvalidMessage` where it is made."""

    kind: ClassVar[str]
    """Graph's `type`."""

    reply_to: str | None = None
    """wamid of the message that this one quotes."""

    def content(self) -> Mapping[str, object] | Sequence[object]:
        """What stands under the kind's own name."""
        raise NotImplementedError

    def readable(self) -> str:
        """What a person would read of it, for transcripts; may be empty."""
        return ""

    def payload(self) -> dict[str, object]:
        """Graph's JSON, still without recipient: see `addressed`."""
        body: dict[str, object] = {"type": self.kind, self.kind: self.content()}
        if self.reply_to is not None:
            body["context"] = {"message_id": self.reply_to}
        return body

    def __post_init__(self) -> None:
        check_text("reply_to", self.reply_to, 400, optional=True)
