"""A conversation with a script, as short to write as it is to have."""

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import settings

from waypost.bot import BotEvent, Effect, HandOff, OptIn, OptOut, Reply, Script, engine, script

# Hypothesis' own deadline is a timed assertion, which a busy machine fails.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

NOON = 1_795_435_200.0
"""2026-11-23 12:00 UTC, a Monday."""


class Conversation:
    """Talks to `script` and keeps the state; one minute passes with every message."""

    def __init__(self, loaded: Script, state: dict[str, Any] | None = None) -> None:
        self.script = loaded
        self.state: dict[str, Any] = state if state is not None else {}
        self.now = NOON
        self.effects: tuple[Effect, ...] = ()

    def send(self, **event: Any) -> list[str]:
        """What the bot says to this event, as a person would read it."""
        self.now += 60
        fields = {"type": "text", "profile_name": "Ann", "occurred_at": self.now, "now": self.now, **event}
        self.state, self.effects = engine.turn(self.script, self.state, BotEvent(**fields))
        return [line for effect in self.effects if (line := spoken(effect)) is not None]

    def say(self, text: str) -> list[str]:
        """The bot's answer to a text."""
        return self.send(text=text)

    def press(self, button_id: str, title: str = "") -> list[str]:
        """The bot's answer to a button."""
        return self.send(type="interactive", text=title or button_id, button_id=button_id)


def spoken(effect: Effect) -> str | None:
    """The text of the message in an effect."""
    match effect:
        case Reply(message):
            return message.readable()
        case OptOut(message) | OptIn(message) | HandOff(_, message):
            return None if message is None else message.readable()


@pytest.fixture
def talk() -> Callable[..., Conversation]:
    """`talk(yaml)` begins a conversation with that script."""

    def begin(text: str, state: dict[str, Any] | None = None) -> Conversation:
        return Conversation(script.load(dedent(text)), state)

    return begin
