"""The bot of each number, compiled once and kept until its script changes."""

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
    """A number's bot cannot be loaded, or may not be. Its events wait for their next attempt; mend it, then replay."""


class Bots:
    """Compiled bots by number. One that cannot be loaded leaves the last good one in place.

    This is where teams are kept apart: whatever a number asks for, only plugins that are allowed are imported.
    """

    def __init__(self, allowed: AllowedPlugins) -> None:
        self._allowed = allowed
        self._compiled: dict[str, tuple[tuple[str | None, str | None], Turn]] = {}
        self._refused: dict[str, tuple[str | None, str | None]] = {}

    def turn(self, number: Number) -> Turn | None:
        """The turn function of a number, or None where it has no bot. Raises `BotUnusable`."""
        source = (number.bot, number.bot_plugin)
        if source == (None, None):
            return None
        known = self._compiled.get(number.phone_number_id)
        if known is not None and known[0] == source:
            return known[1]
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
        if known is None:
            raise BotUnusable(f"the bot of {number.namespace}/{number.name} cannot be loaded; see the log")
        return known[1]


def _compile(number: Number, allowed: AllowedPlugins) -> Turn:
    if number.bot_plugin is not None:
        return plugin.load(number.bot_plugin, allowed)
    assert number.bot is not None
    loaded = script.load(number.bot)
    return lambda state, event: script_turn(loaded, state, event)
