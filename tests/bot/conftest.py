"""Provides conversations of a contact with a bot script."""

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from waypost.bot import BotEvent, Effect, HandOff, OptIn, OptOut, Reply, Script, engine, script

NOON = 1_795_435_200.0
"""2026-11-23 12:00 UTC, a Monday."""


class Conversation:
    """A contact who writes to a script. Time advances one minute per message. The state is kept between messages."""

    def __init__(self, loaded: Script, state: dict[str, Any] | None = None) -> None:
        self.script = loaded
        self.state: dict[str, Any] = state if state is not None else {}
        self.now = NOON
        self.effects: tuple[Effect, ...] = ()

    def send(self, **event: Any) -> list[str]:
        """Sends an event and returns the bot's messages, as a person would read them."""
        self.now += 60
        fields = {"type": "text", "profile_name": "Ann", "occurred_at": self.now, "now": self.now, **event}
        self.state, self.effects = engine.turn(self.script, self.state, BotEvent(**fields))
        return [line for effect in self.effects if (line := spoken(effect)) is not None]

    def say(self, text: str) -> list[str]:
        """Sends a text and returns the bot's messages."""
        return self.send(text=text)

    def press(self, button_id: str, title: str = "") -> list[str]:
        """Presses a button and returns the bot's messages."""
        return self.send(type="interactive", text=title or button_id, button_id=button_id)


def spoken(effect: Effect) -> str | None:
    """Returns the text of the message in an effect."""
    match effect:
        case Reply(message):
            return message.readable()
        case OptOut(message) | OptIn(message) | HandOff(_, message):
            return None if message is None else message.readable()


@pytest.fixture
def talk() -> Callable[..., Conversation]:
    """Returns a function that starts a conversation with a script: `talk(yaml)`."""

    def start(text: str, state: dict[str, Any] | None = None) -> Conversation:
        return Conversation(script.load(dedent(text)), state)

    return start
