"""Finds the intent of a message. The first matching intent of the script wins.

A pressed button takes precedence over all words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from waypost.bot import actions, answers
from waypost.bot.actions import Action
from waypost.bot.document import Node
from waypost.bot.event import BotEvent
from waypost.bot.patterns import Pattern, PatternBudget
from waypost.bot.replies import Names
from waypost.bot.words import words

_MOST_INTENTS = 300
_MOST_KEYWORDS = 200
_MATCHERS = ("keywords", "regex", "buttons", "types")


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent is something that a contact may want.

    It says how messages with that intent are recognised and how the bot reacts.
    """

    name: str
    action: Action
    keywords: tuple[tuple[str, ...], ...] = ()
    patterns: tuple[Pattern, ...] = ()
    buttons: tuple[str, ...] = ()
    types: frozenset[str] = frozenset()
    anytime: bool = False


class Matcher:
    """An index of a script's intents. A message is scanned only once, however many keywords there are."""

    def __init__(self, intents: Sequence[Intent]) -> None:
        self._intents = tuple(intents)
        self._by_button: dict[str, int] = {}
        # By first word and length. A message may repeat a word that begins thousands of keywords.
        self._by_first_word: dict[str, dict[int, dict[tuple[str, ...], int]]] = {}
        self._patterns: list[tuple[int, Pattern]] = []
        self._by_type: dict[str, int] = {}
        for rank, intent in enumerate(self._intents):
            for button in intent.buttons:
                self._by_button.setdefault(button, rank)
            for keyword in intent.keywords:
                self._by_first_word.setdefault(keyword[0], {}).setdefault(len(keyword), {}).setdefault(keyword, rank)
            self._patterns.extend((rank, pattern) for pattern in intent.patterns)
            for kind in intent.types:
                self._by_type.setdefault(kind, rank)

    @property
    def instructions(self) -> int:
        """Returns the total number of instructions of all patterns.

        A search may run all these instructions for each character of a message.
        """
        return sum(pattern.instructions for _, pattern in self._patterns)

    def by_button(self, button_id: str | None) -> Intent | None:
        """Returns the first intent that lists the button `button_id`, or None."""
        rank = self._by_button.get(button_id) if button_id is not None else None
        return None if rank is None else self._intents[rank]

    def by_content(self, event: BotEvent) -> Intent | None:
        """Returns the first intent whose keywords, patterns or types match the message."""
        best = self._by_type.get(event.type, len(self._intents))
        if event.text:
            best = self._by_keyword(words(event.text), best)
            for rank, pattern in self._patterns:
                if rank >= best:
                    break
                if pattern.found_in(event.text):
                    best = rank
        return self._intents[best] if best < len(self._intents) else None

    def _by_keyword(self, said: list[str], best: int) -> int:
        for position, word in enumerate(said):
            for length, ranks in self._by_first_word.get(word, {}).items():
                rank = ranks.get(tuple(said[position : position + length]))
                if rank is not None and rank < best:
                    best = rank
        return best


def read(node: Node, names: Names, budget: PatternBudget) -> list[Intent]:
    """Reads the `intents` of a script, in order."""
    found: list[Intent] = []
    keyword_owner: dict[tuple[str, ...], str] = {}
    button_owner: dict[str, str] = {}
    for name, entry in node.named("intent", most=_MOST_INTENTS).items():
        fields = entry.fields({*_MATCHERS, "anytime", *actions.KEYS})
        if not any(key in fields for key in _MATCHERS):
            entry.fail(f"never matches a message; add at least one of {', '.join(_MATCHERS)}")
        found.append(
            Intent(
                name=name,
                action=actions.read(fields, names, entry),
                keywords=_keywords(fields, name, keyword_owner),
                patterns=tuple(
                    answers.pattern(each, budget)
                    for each in (fields["regex"].items("pattern", most=20) if "regex" in fields else ())
                ),
                buttons=_buttons(fields, name, button_owner),
                types=answers.types(fields["types"]) if "types" in fields else frozenset(),
                anytime=fields["anytime"].flag() if "anytime" in fields else False,
            )
        )
    return found


def _keywords(fields: Mapping[str, Node], name: str, owner: dict[tuple[str, ...], str]) -> tuple[tuple[str, ...], ...]:
    if "keywords" not in fields:
        return ()
    found = []
    for entry in fields["keywords"].items("keyword", most=_MOST_KEYWORDS):
        keyword = tuple(words(entry.text(most=200)))
        if not keyword:
            entry.fail("contains no word that can be matched; use letters, digits or an emoji")
        if owner.setdefault(keyword, name) != name:
            entry.fail(f"already belongs to intent {owner[keyword]!r}, which would always win; keep one")
        found.append(keyword)
    return tuple(found)


def _buttons(fields: Mapping[str, Node], name: str, owner: dict[str, str]) -> tuple[str, ...]:
    if "buttons" not in fields:
        return ()
    found = []
    for entry in fields["buttons"].items("button id", most=100):
        button = entry.text(most=256)
        if owner.setdefault(button, name) != name:
            entry.fail(f"already belongs to intent {owner[button]!r}, which would always win; keep one")
        found.append(button)
    return tuple(found)
