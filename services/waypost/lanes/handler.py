"""The code that handles events, as a drain sees it; the worker plugs in the bot and the sender through it."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection

from waypost.store.claims import WaitingEvent


class Batch(Protocol):
    """The effects of several events, collected in memory until they are stored together."""

    def handle(self, event: WaitingEvent) -> str | None:
        """Computes the effects of one event; returns None, or the reason if the event has no effects.

        Raises `Unhandled` to refuse the event, `NotServedHere` to leave it; any other exception counts as a failed
        attempt. After an exception the batch must be as it was before.
        """

    def give_up(self, event: WaitingEvent) -> None:
        """Computes the effects of an event whose last attempt failed, such as its place in the history."""

    def store(self, connection: Connection) -> None:
        """Writes the collected effects in the caller's transaction."""

    def committed(self) -> None:
        """Does what must follow the commit, after which the effects are durable."""


class Handler(Protocol):
    """Handles the events of all numbers."""

    def begin(self, connection: Connection, events: Sequence[WaitingEvent]) -> Batch:
        """Reads the data that the turns of these events need."""


class Unhandled(Exception):
    """Raised, with a CamelCase reason, for an event that can never be handled. It is dead at once; do not retry."""


class NotServedHere(Exception):
    """Raised for a message of a number whose messages this process cannot handle now. The event waits as it was.

    The process does not know the number yet, has not compiled its first script yet, or the number's bot is a plugin,
    which runs in a host process.
    """


class TurnTimeout(BaseException):
    """Raised when a turn takes too long. It is a `BaseException`, so a bot's `except Exception` cannot catch it."""
