"""The bots of the benchmarks, as plugins. The benchmarks measure the way to a bot and back, not the bot."""

from collections.abc import Sequence

from waypost.bot.effects import Effect, Reply
from waypost.bot.event import BotEvent
from waypost.bot.state import State
from waypost.cloudapi.messages import Text


def silent(state: State, _event: BotEvent) -> tuple[State, Sequence[Effect]]:
    """Does nothing."""
    return state, ()


def echo(state: State, event: BotEvent) -> tuple[State, Sequence[Effect]]:
    """Repeats the text of the message. Also counts the turns in its state, because every dialog keeps some state."""
    return {"turns": int(state.get("turns", 0)) + 1}, (Reply(Text(event.text or "")),)
