"""The bots of the benchmarks, as plugins: what is measured is the way to a bot and back, not the bot."""

from collections.abc import Sequence

from waypost.bot.effects import Effect, Reply
from waypost.bot.event import BotEvent
from waypost.bot.state import State
from waypost.cloudapi.messages import Text


def silent(state: State, _event: BotEvent) -> tuple[State, Sequence[Effect]]:
    """Does nothing."""
    return state, ()


def echo(state: State, event: BotEvent) -> tuple[State, Sequence[Effect]]:
    """Repeats what it was told; keeps count, as any dialog keeps something."""
    return {"turns": int(state.get("turns", 0)) + 1}, (Reply(Text(event.text or "")),)
