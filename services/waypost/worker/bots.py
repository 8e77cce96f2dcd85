"""Finds the bot of each number: its compiled script, or its plugin, which is loaded once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from waypost.allowed_plugins import AllowedPlugins
from waypost.bot import plugin
from waypost.bot.effects import Effect
from waypost.bot.engine import turn as script_turn
from waypost.bot.event import BotEvent
from waypost.contracts.registry import Number
from waypost.worker.scripts import CompiledScripts, ScriptRefused

log = structlog.get_logger(__name__)

Turn = Callable[[dict[str, Any], BotEvent], tuple[dict[str, Any], Sequence[Effect]]]


class BotUnusable(Exception):
    """Raised when a number's bot cannot be loaded, or is a plugin that is not allowed.

    The number's events use up their attempts and are then dead. Repair the bot, then replay the events.
    """


class Bots:
    """Holds the bots of numbers. If a bot's new version cannot be loaded, its last good version stays in use.

    This class protects teams from each other: a number's plugin is imported only if the platform allows it.
    """

    def __init__(self, allowed: AllowedPlugins, scripts: CompiledScripts) -> None:
        self._allowed = allowed
        self._scripts = scripts
        self._compiled: dict[str, tuple[tuple[str | None, str | None], Turn]] = {}
        self._refused: dict[str, tuple[str | None, str | None]] = {}

    def turn(self, number: Number) -> Turn | None:
        """Returns the turn function of a number, or None if it has no bot.

        Raises `BotUnusable` and `ScriptNotReady`.
        """
        compiled = self._compiled.get(number.phone_number_id)
        if number.bot_plugin is None:
            if number.bot is None:
                return None
            try:
                return partial(script_turn, self._scripts.script(number))
            except ScriptRefused:
                if compiled is None:
                    raise _unusable(number) from None
                return compiled[1]
        source = (number.bot, number.bot_plugin)
        if compiled is not None and compiled[0] == source:
            return compiled[1]
        if self._refused.get(number.phone_number_id) != source:
            try:
                turn = plugin.load(number.bot_plugin, self._allowed)
            except plugin.PluginError as error:
                self._refused[number.phone_number_id] = source
                log.error(  # noqa: TRY400 - the message says what to correct; a stack adds nothing
                    "bot cannot be loaded", number=number.phone_number_id, problem=str(error)
                )
            else:
                self._compiled[number.phone_number_id] = (source, turn)
                return turn
        if compiled is not None:
            return compiled[1]
        if (last := self._scripts.last_good(number)) is not None:
            return partial(script_turn, last)
        raise _unusable(number)


def _unusable(number: Number) -> BotUnusable:
    return BotUnusable(f"the bot of {number.namespace}/{number.name} cannot be loaded; see the log")
