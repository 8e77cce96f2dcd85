"""`{{profile_name}}` and its few siblings, replaced in one pass.

No template language: what a person wrote is put in once and never looked at again, and whatever is no known placeholder
(`{{7*7}}`, `{0.__class__}`, `${x}`, `%s`) comes out as it went in.
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
    """A text names a placeholder that does not exist; the message says which there are. A retry is pointless."""


@dataclass(frozen=True, slots=True)
class Values:
    """What a turn can fill in. `titles` maps a slot's stored ids to the words that the contact saw."""

    profile_name: str | None = None
    message: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    now: float = 0.0
    zone: tzinfo = UTC

    def get(self, name: str) -> str:
        """The value of one placeholder, "" when there is none."""
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
class Gap:
    """A place in a text that is filled in later, and what stands there when there is nothing to fill in."""

    name: str
    otherwise: str


@dataclass(frozen=True, slots=True)
class Text:
    """A compiled text. `limit` is Meta's, in characters."""

    parts: tuple[str | Gap, ...]
    limit: int

    @property
    def is_fixed(self) -> bool:
        """Whether every rendering is the same."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def may_be_blank(self) -> bool:
        """Whether a rendering could hold nothing to read, which Meta refuses."""
        return not any((part if isinstance(part, str) else part.otherwise).strip() for part in self.parts)

    def render(self, values: Values, encode: Callable[[str], str] | None = None) -> str:
        """The text with every gap filled, cut sensibly at the limit. `encode` is applied to filled-in values only."""
        filled = []
        for part in self.parts:
            if isinstance(part, str):
                filled.append(part)
                continue
            value = readable(values.get(part.name)[:_VALUE_LIMIT])
            if not value.strip():
                value = part.otherwise
            filled.append(encode(value) if encode else value)
        return shortened("".join(filled), self.limit)


def parse(text: str, *, slots: Collection[str], limit: int) -> Text:
    """Compile `text`. Raises `PlaceholderError` for a name that looks like a placeholder and is none."""
    parts: list[str | Gap] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        name, otherwise = match.group(1), match.group(2) or ""
        _check(name, slots)
        if match.start() > end:
            parts.append(text[end : match.start()])
        parts.append(Gap(name, otherwise))
        end = match.end()
    if end < len(text):
        parts.append(text[end:])
    return Text(tuple(parts), limit)


def _check(name: str, slots: Collection[str]) -> None:
    if name in _ALWAYS or (name.startswith("slot.") and name.removeprefix("slot.") in slots):
        return
    if name.startswith("slot."):
        kept = ", ".join(sorted(slots)) or "none"
        raise PlaceholderError(
            f"{{{{{name}}}}} names an answer that no step stores; stored are: {kept}. Add `store:` to a step"
        )
    known = ", ".join([*_ALWAYS, "slot.NAME"])
    raise PlaceholderError(f"{{{{{name}}}}} is no placeholder; use one of: {known}")


def shortened(text: str, limit: int) -> str:
    """`text` if it fits, else as much of it as leaves room for "…", cut between words where one ends nearby."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = max(cut.rfind(" ", len(cut) - 40), cut.rfind("\n", len(cut) - 40))
    if space > 0:
        cut = cut[:space]
    # A mark, joiner or variant selector at the edge belongs to the character that was cut off.
    while cut and (cut[-1] in "\u200d\ufe0e\ufe0f" or "\u0300" <= cut[-1] <= "\u036f"):
        cut = cut[:-1]
    return cut.rstrip() + ELLIPSIS


def zone(name: str) -> tzinfo:
    """The time zone of that name. Raises `LookupError` when there is none."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError) as error:
        raise LookupError(name) from error
