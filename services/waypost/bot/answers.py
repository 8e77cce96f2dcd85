"""Expectations decide whether a message answers a question, and which value is then stored."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from waypost.bot.document import Node
from waypost.bot.event import BotEvent
from waypost.bot.patterns import Pattern, PatternBudget, PatternError
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
    """Accepts any text."""

    def value_of(self, event: BotEvent) -> str | None:
        """Returns the value to store, or None if the message is not an answer."""
        text = (event.text or "").strip()
        return text[:SLOT_LIMIT] or None


@dataclass(frozen=True, slots=True)
class MatchingText:
    """Accepts a text that matches a pattern from beginning to end."""

    pattern: Pattern

    def value_of(self, event: BotEvent) -> str | None:
        """Returns the value to store, or None if the message is not an answer."""
        text = (event.text or "").strip()
        return text if text and len(text) <= SLOT_LIMIT and self.pattern.is_all_of(text) else None


@dataclass(frozen=True, slots=True)
class NumberInRange:
    """Accepts a number within bounds. A comma or a point may stand before the decimals.

    Thousands separators are not accepted, because both commas and points are used for them.
    """

    least: Decimal | None
    most: Decimal | None
    whole: bool

    def value_of(self, event: BotEvent) -> str | None:
        """Returns the number with a decimal point, or None if the message is not an answer."""
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
class MultipleChoice:
    """Accepts one of several options.

    A message names an option in one of three ways. The contact presses the option's button or row, the whole
    message is the option's title or id, or the message contains one of the option's words.

    `exact` maps phrases to the ids of options. `inside` is a list of pairs. Each pair has a phrase that is padded
    with spaces and the id of an option.
    """

    titles: Mapping[str, str]
    exact: Mapping[str, str]
    inside: tuple[tuple[str, str], ...]

    def value_of(self, event: BotEvent) -> str | None:
        """Returns the id of the option that the message names, or None if it names no option or several options."""
        if event.button_id in self.titles:
            return event.button_id
        said = phrase(event.text or "")
        if said in self.exact:
            return self.exact[said]
        padded = f" {said} "
        found = {identity for word, identity in self.inside if word in padded}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class MessageOfType:
    """Accepts messages of certain types, such as photos.

    The caption is stored as the answer. If there is no caption, the type is stored.
    """

    types: frozenset[str]

    def value_of(self, event: BotEvent) -> str | None:
        """Returns the caption or the message's type, or None if the message is not an answer."""
        if event.type not in self.types:
            return None
        return (event.text or "").strip()[:SLOT_LIMIT] or event.type


Expectation = AnyText | MatchingText | NumberInRange | MultipleChoice | MessageOfType


def read(node: Node | None, options: Mapping[str, str], budget: PatternBudget) -> Expectation:
    """Reads the `expect` of a step. `options` are the ids and titles of the buttons or rows shown with the question.

    Without `expect`, a question with buttons accepts one of the buttons, and a plain question accepts any text.
    """
    if node is None:
        return multiple_choice(options, {}) if options else AnyText()
    if node.is_text:
        kind = node.one_of(("any", "number"))
        return AnyText() if kind == "any" else NumberInRange(None, None, whole=False)
    fields = node.fields({"regex", "number", "choice", "types"})
    if len(fields) != 1:
        node.fail("give exactly one of regex, number, choice, types")
    if "regex" in fields:
        return MatchingText(pattern(fields["regex"], budget))
    if "number" in fields:
        return _number(fields["number"])
    if "types" in fields:
        return MessageOfType(types(fields["types"]))
    return _multiple_choice(fields["choice"], options)


def pattern(node: Node, budget: PatternBudget) -> Pattern:
    """Compiles the regular expression in a node of the script."""
    try:
        return budget.compile(node.text())
    except PatternError as error:
        node.fail(f"the pattern {error}")


def types(node: Node) -> frozenset[str]:
    """Reads message types from the script. Meta adds types over time, so any lower-case word is accepted."""
    found = set()
    for entry in node.items("message type", most=20):
        name = entry.text(most=40)
        if not re.fullmatch(r"[a-z_]+", name):
            entry.fail("is not a message type; use lower-case words such as image, audio or location")
        found.add(name)
    return frozenset(found)


def multiple_choice(options: Mapping[str, str], more: Mapping[str, tuple[str, ...]]) -> MultipleChoice:
    """Builds an expectation that accepts one of `options` (id → title).

    `more` maps ids to further words that select the option.
    """
    exact: dict[str, str] = {}
    inside: list[tuple[str, str]] = []
    for identity, title in options.items():
        for said in (title, identity):
            if key := phrase(said):
                exact.setdefault(key, identity)
    for identity, spoken in more.items():
        for word in spoken:
            key = phrase(word)
            exact.setdefault(key, identity)
            inside.append((f" {key} ", identity))
    return MultipleChoice(titles=dict(options), exact=exact, inside=tuple(inside))


def yes_or_no(yes_title: str, no_title: str) -> MultipleChoice:
    """Builds an expectation that accepts a yes or a no. The ids of these two options are `yes` and `no`."""
    asked = multiple_choice({"yes": yes_title, "no": no_title}, {"yes": _YES_WORDS, "no": _NO_WORDS})
    return MultipleChoice(titles=asked.titles, exact=asked.exact, inside=())


def _number(node: Node) -> NumberInRange:
    fields = node.fields({"min", "max", "whole"})
    least = fields["min"].number() if "min" in fields else None
    most = fields["max"].number() if "max" in fields else None
    if least is not None and most is not None and least > most:
        fields["max"].fail("is below min, so no number is accepted; raise it")
    return NumberInRange(least, most, whole=fields["whole"].flag() if "whole" in fields else False)


def _multiple_choice(node: Node, options: Mapping[str, str]) -> MultipleChoice:
    titles: dict[str, str] = dict(options)
    more: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    nodes = node.keyed("choice", most=_MOST_CHOICES)
    for identity in options:
        if identity not in nodes:
            node.fail(f"does not list {identity!r}, which the question shows as a button or row; add it here")
    for identity, entry in nodes.items():
        spoken = []
        for word in entry.items("word", most=50):
            key = phrase(said := word.text(most=200))
            if not key:
                word.fail("contains no word that can be matched; use letters, digits or an emoji")
            if owner.setdefault(key, identity) != identity:
                word.fail(f"already means {owner[key]!r}; a word can mean one choice only")
            spoken.append(said)
        titles.setdefault(identity, spoken[0])
        more[identity] = tuple(spoken)
    return multiple_choice(titles, more)
