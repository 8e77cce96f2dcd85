"""Plugins that hurt their neighbours, for the row `fairness`."""

import time
from collections.abc import Sequence

from waypost.bot.effects import Effect
from waypost.bot.event import BotEvent
from waypost.bot.state import State

SLOW_S = 9.0


def slow(state: State, _event: BotEvent) -> tuple[State, Sequence[Effect]]:
    """Takes nine seconds."""
    time.sleep(SLOW_S)
    return state, ()


def raises(_state: State, _event: BotEvent) -> tuple[State, Sequence[Effect]]:
    """Raises an error for every event."""
    raise ValueError("not today")


def endless(_state: State, _event: BotEvent) -> tuple[State, Sequence[Effect]]:
    """Keeps a processor busy and never returns."""
    while True:
        pass
