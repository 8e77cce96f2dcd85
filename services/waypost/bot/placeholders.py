"""Replaces placeholders such as `{{profile_name}}` in one pass.

This is not a template language. Inserted text is never scanned for placeholders, and anything that is not a known
placeholder (`{{7*7}}`, `{0.__class__}`, `${x}`, `%s`) stays as written.
"""

import re
import zoneinfo
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from waypost.bot.event import readable

ELLIPSIS = "…"
_VALUE_LIMIT = 4096
_PLACEHOLDER = re.compile(r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_.]*)[ \t]*(?:\|([^{}|]*))?\}\}")
_ALWAYS = {
    "profile_name": "the contact's profile name",
    "message": "what the contact just wrote",
    "now.date": "today, 2026-11-23",
    "now.time": "the time, 14:05",
}
FIXED_NAMES = tuple(_ALWAYS)


class PlaceholderError(Exception):
    """A text names a placeholder that does not exist. The error message lists the placeholders that exist.

    A retry does not help.
    """


@dataclass(frozen=True, slots=True)
class Values:
    """The values that a turn can insert. `titles` maps the ids that a slot stores to the words that the contact saw."""

    profile_name: str | None = None
    message: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    now: float = 0.0
    zone: tzinfo = UTC

    def get(self, name: str) -> str:
        """Returns the value of a placeholder, or "" if the placeholder has no value."""
        if name == "profile_name":
            return self.profile_name or ""
        if name == "message":
            return self.message or ""
        if name == "now.date":
            return self._moment().strftime("%Y-%m-%d")
        if name == "now.time":
            return self._moment().strftime("%H:%M")
        slot = name.removeprefix("slot.")
        value = self.slots.get(slot, "")
        return self.titles.get(slot, {}).get(value, value)

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self.now, self.zone)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder in a text, with the default that replaces an empty value."""

    name: str
    default: str


@dataclass(frozen=True, slots=True)
class CompiledText:
    """A text that is split into fixed parts and placeholders.

    `limit` is Meta's limit for the rendered text, in characters.
    """

    parts: tuple[str | Placeholder, ...]
    limit: int

    @property
    def is_fixed(self) -> bool:
        """Returns whether the text contains no placeholder, so that it is the same for all values."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def may_be_blank(self) -> bool:
        """Returns whether the rendered text could be blank. Meta refuses blank texts."""
        return not any((part if isinstance(part, str) else part.default).strip() for part in self.parts)

    def render(self, values: Values, encode: Callable[[str], str] | None = None) -> str:
        """Returns the text with all placeholders filled, shortened to the limit.

        `encode` is applied to the inserted values, but not to the fixed text.
        """
        filled = []
        for part in self.parts:
            if isinstance(part, str):
                filled.append(part)
                continue
            value = readable(values.get(part.name)[:_VALUE_LIMIT])
            if not value.strip():
                value = part.default
            filled.append(encode(value) if encode else value)
        return shortened("".join(filled), self.limit)


def parse(text: str, *, slots: Collection[str], limit: int) -> CompiledText:
    """Compiles `text`. Raises `PlaceholderError` for a name that looks like a placeholder but does not exist."""
    parts: list[str | Placeholder] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        name, default = match.group(1), match.group(2) or ""
        _check(name, slots)
        if match.start() > end:
            parts.append(text[end : match.start()])
        parts.append(Placeholder(name, default))
        end = match.end()
    if end < len(text):
        parts.append(text[end:])
    return CompiledText(tuple(parts), limit)


def _check(name: str, slots: Collection[str]) -> None:
    if name in _ALWAYS or (name.startswith("slot.") and name.removeprefix("slot.") in slots):
        return
    if name.startswith("slot."):
        stored = ", ".join(sorted(slots)) or "none"
        raise PlaceholderError(
            f"{{{{{name}}}}} names an answer that no step stores; stored answers: {stored}. Add `store:` to a step"
        )
    names = ", ".join([*_ALWAYS, "slot.NAME"])
    raise PlaceholderError(f"{{{{{name}}}}} is not a placeholder; use one of: {names}")


def shortened(text: str, limit: int) -> str:
    """Returns `text` if it is within the limit, else a shorter text that ends with "…".

    The text is cut between two words if there is a space near the limit.
    """
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = max(cut.rfind(" ", len(cut) - 40), cut.rfind("\n", len(cut) - 40))
    if space > 0:
        cut = cut[:space]
    # A combining mark, joiner or variant selector at the cut belongs to the removed character.
    while cut and (cut[-1] in "\u200d\ufe0e\ufe0f" or "\u0300" <= cut[-1] <= "\u036f"):
        cut = cut[:-1]
    return cut.rstrip() + ELLIPSIS


def zone(name: str) -> tzinfo:
    """Returns the time zone with the given IANA name. Raises `LookupError` if no such zone exists."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError) as error:
        raise LookupError(name) from error
