"""Loads the bot of each number. A bot is compiled once and reused until its script changes."""

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from waypost.allowed_plugins import AllowedPlugins
from waypost.bot import plugin, script
from waypost.bot.effects import Effect
from waypost.bot.engine import turn as script_turn
from waypost.bot.event import BotEvent
from waypost.contracts.registry import Number

log = structlog.get_logger(__name__)

Turn = Callable[[dict[str, Any], BotEvent], tuple[dict[str, Any], Sequence[Effect]]]


class BotUnusable(Exception):
    """Raised when a number's bot cannot be loaded, or is a plugin that is not allowed.

    The number's events use up their attempts and are then dead. Repair the bot, then replay the events.
    """


class Bots:
    """Holds compiled bots by number. If a bot's new version cannot be loaded, its last good version stays in use.

    This class protects teams from each other: a number's plugin is imported only if the platform allows it.
    """

    def __init__(self, allowed: AllowedPlugins) -> None:
        self._allowed = allowed
        self._compiled: dict[str, tuple[tuple[str | None, str | None], Turn]] = {}
        self._refused: dict[str, tuple[str | None, str | None]] = {}

    def turn(self, number: Number) -> Turn | None:
        """Returns the turn function of a number, or None if it has no bot. Raises `BotUnusable`."""
        source = (number.bot, number.bot_plugin)
        if source == (None, None):
            return None
        compiled = self._compiled.get(number.phone_number_id)
        if compiled is not None and compiled[0] == source:
            return compiled[1]
        if self._refused.get(number.phone_number_id) != source:
            try:
                turn = _compile(number, self._allowed)
            except (script.ScriptError, plugin.PluginError) as error:
                self._refused[number.phone_number_id] = source
                log.error(  # noqa: TRY400 - the message names line and key; a stack adds nothing for its author
                    "bot cannot be loaded", number=number.phone_number_id, problem=str(error)
                )
            else:
                self._compiled[number.phone_number_id] = (source, turn)
                return turn
        if compiled is None:
            raise BotUnusable(f"the bot of {number.namespace}/{number.name} cannot be loaded; see the log")
        return compiled[1]


def _compile(number: Number, allowed: AllowedPlugins) -> Turn:
    if number.bot_plugin is not None:
        return plugin.load(number.bot_plugin, allowed)
    assert number.bot is not None
    loaded = script.load(number.bot)
    return lambda state, event: script_turn(loaded, state, event)
