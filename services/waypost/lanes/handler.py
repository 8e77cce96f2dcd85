"""The interface through which a drain handles events. The worker connects the bot and the sender through it."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection

from waypost.store.claims import WaitingEvent


class Batch(Protocol):
    """The effects of several events, collected in memory until they are stored together."""

    def handle(self, event: WaitingEvent) -> str | None:
        """Computes the effects of one event. Returns None, or the reason if the event has no effects.

        Raises `Unhandled` to refuse the event. Raises `NotServedHere` to leave the event waiting. Any other exception
        counts as a failed attempt. After an exception, the batch must be as it was before the call.
        """

    def give_up(self, event: WaitingEvent) -> None:
        """Computes the effects of an event whose last attempt failed. For example, the message enters the history."""

    def store(self, connection: Connection) -> None:
        """Writes the collected effects in the caller's transaction."""

    def committed(self) -> None:
        """Does the work that must follow the commit. The effects are durable at this point."""


class Handler(Protocol):
    """Handles the events of all numbers."""

    def begin(self, connection: Connection, events: Sequence[WaitingEvent]) -> Batch:
        """Reads the data that the turns of these events need."""


class Unhandled(Exception):
    """Raised for an event that can never be handled. The exception contains a reason in CamelCase.

    The event is dead at once. Do not retry.
    """


class NotServedHere(Exception):
    """Raised if this process cannot handle the messages of a number now. The event waits unchanged.

    There are three causes. The process does not know the number yet, the process has not compiled the number's
    first script yet, or the number's bot is a plugin. A plugin runs in a host process.
    """


class TurnTimeout(BaseException):
    """Raised when a turn takes too long. It is a `BaseException`, so a bot's `except Exception` cannot catch it."""
