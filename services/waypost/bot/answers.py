"""What counts as an answer to a question, and what is kept of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from waypost.bot.document import Item
from waypost.bot.event import BotEvent
from waypost.bot.patterns import Pattern, PatternError
from waypost.bot.state import SLOT_LIMIT
from waypost.bot.words import phrase

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:[.,][0-9]{1,6})?")
_MOST_CHOICES = 50
_YES_WORDS = (
    "yes",
    "y",
    "yep",
    "ok",
    "okay",
    "correct",
    "si",
    "oui",
    "ja",
    "sim",
    "da",
    "tak",
    "evet",
    "نعم",
    "हाँ",
    "是",
    "はい",
    "👍",
)
_NO_WORDS = (
    "no",
    "n",
    "nope",
    "wrong",
    "non",
    "nein",
    "não",
    "nee",
    "nej",
    "nie",
    "hayır",
    "لا",
    "नहीं",
    "不是",
    "いいえ",
    "👎",
)


@dataclass(frozen=True, slots=True)
class AnyText:
    """Whatever a person writes."""

    def judge(self, event: BotEvent) -> str | None:
        """The value to keep, None when this is no answer."""
        text = (event.text or "").strip()
        return text[:SLOT_LIMIT] or None


@dataclass(frozen=True, slots=True)
class Matching:
    """A text that a pattern describes as a whole."""

    pattern: Pattern

    def judge(self, event: BotEvent) -> str | None:
        """The value to keep, None when this is no answer."""
        text = (event.text or "").strip()
        return text if text and len(text) <= SLOT_LIMIT and self.pattern.is_all_of(text) else None


@dataclass(frozen=True, slots=True)
class NumberBetween:
    """A number, with a comma or a point before its decimals; no thousands separators, for those mean both."""

    least: Decimal | None
    most: Decimal | None
    whole: bool

    def judge(self, event: BotEvent) -> str | None:
        """The number with a decimal point, None when this is no answer."""
        text = (event.text or "").strip()
        if len(text) > 24 or not _NUMBER.fullmatch(text):
            return None
        value = Decimal(text.replace(",", "."))
        if self.whole and value != value.to_integral_value():
            return None
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            return None
        return f"{value:f}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few: by button or row, by its title or id as the whole message, or by one of its words anywhere.

    `exact` maps phrases to ids, `inside` pairs of padded phrase and id.
    """

    titles: Mapping[str, str]
    exact: Mapping[str, str]
    inside: tuple[tuple[str, str], ...]

    def judge(self, event: BotEvent) -> str | None:
        """The id of the choice, None when it is none of them or two at once."""
        if event.button_id in self.titles:
            return event.button_id
        said = phrase(event.text or "")
        if said in self.exact:
            return self.exact[said]
        padded = f" {said} "
        found = {identity for word, identity in self.inside if word in padded}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class OfType:
    """A message of certain types, a photo say; its caption is kept, or the type where there is none."""

    types: frozenset[str]

    def judge(self, event: BotEvent) -> str | None:
        """The caption or the type, None when this is no answer."""
        if event.type not in self.types:
            return None
        return (event.text or "").strip()[:SLOT_LIMIT] or event.type


Expectation = AnyText | Matching | NumberBetween | Choice | OfType


def read(item: Item | None, shown: Mapping[str, str]) -> Expectation:
    """The `expect` of a step. `shown` are ids and titles of the buttons or rows that go with the question.

    Without `expect`, buttons ask for one of them, and a plain question takes any text.
    """
    if item is None:
        return choice(shown, {}) if shown else AnyText()
    if item.is_text:
        kind = item.one_of(("any", "number"))
        return AnyText() if kind == "any" else NumberBetween(None, None, whole=False)
    fields = item.fields({"regex", "number", "choice", "types"})
    if len(fields) != 1:
        item.fail("give exactly one of regex, number, choice, types")
    if "regex" in fields:
        return Matching(pattern(fields["regex"]))
    if "number" in fields:
        return _number(fields["number"])
    if "types" in fields:
        return OfType(types(fields["types"]))
    return _choice(fields["choice"], shown)


def pattern(item: Item) -> Pattern:
    """A regular expression."""
    try:
        return Pattern(item.text())
    except PatternError as error:
        item.fail(f"the pattern {error}")


def types(item: Item) -> frozenset[str]:
    """Message types; Meta adds new ones, so any plain word is taken."""
    found = set()
    for entry in item.items("message type", most=20):
        name = entry.text(most=40)
        if not re.fullmatch(r"[a-z_]+", name):
            entry.fail("a message type is a lower-case word such as image, audio, location")
        found.add(name)
    return frozenset(found)


def choice(shown: Mapping[str, str], more: Mapping[str, tuple[str, ...]]) -> Choice:
    """A choice among `shown` (id → title), each with more words that mean it."""
    exact: dict[str, str] = {}
    inside: list[tuple[str, str]] = []
    for identity, title in shown.items():
        for said in (title, identity):
            if key := phrase(said):
                exact.setdefault(key, identity)
    for identity, spoken in more.items():
        for word in spoken:
            key = phrase(word)
            exact.setdefault(key, identity)
            inside.append((f" {key} ", identity))
    return Choice(titles=dict(shown), exact=exact, inside=tuple(inside))


def yes_or_no(yes_title: str, no_title: str) -> Choice:
    """The answer to "is that right?"; the ids are `yes` and `no`."""
    asked = choice({"yes": yes_title, "no": no_title}, {"yes": _YES_WORDS, "no": _NO_WORDS})
    return Choice(titles=asked.titles, exact=asked.exact, inside=())


def _number(item: Item) -> NumberBetween:
    fields = item.fields({"min", "max", "whole"})
    least = fields["min"].number() if "min" in fields else None
    most = fields["max"].number() if "max" in fields else None
    if least is not None and most is not None and least > most:
        fields["max"].fail("is below min, so no number would do; raise it")
    return NumberBetween(least, most, whole=fields["whole"].flag() if "whole" in fields else False)


def _choice(item: Item, shown: Mapping[str, str]) -> Choice:
    titles: dict[str, str] = dict(shown)
    more: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    entries = item.keyed("choice", most=_MOST_CHOICES)
    for identity in shown:
        if identity not in entries:
            item.fail(f"leaves out {identity!r}, which the question shows as a button or row; add it here")
    for identity, entry in entries.items():
        spoken = []
        for word in entry.items("word", most=50):
            key = phrase(said := word.text(most=200))
            if not key:
                word.fail("holds no word that could be matched; give letters, digits or an emoji")
            if owner.setdefault(key, identity) != identity:
                word.fail(f"already stands for {owner[key]!r}; a word can mean one choice only")
            spoken.append(said)
        titles.setdefault(identity, spoken[0])
        more[identity] = tuple(spoken)
    return choice(titles, more)
