"""Finds the bot of each number that has a script. The turns of plugins are taken in hosts instead."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from waypost.bot.effects import Effect
from waypost.bot.engine import turn as script_turn
from waypost.bot.event import BotEvent
from waypost.bot.script import Script
from waypost.contracts.condition_types import Reason
from waypost.contracts.registry import Number
from waypost.lanes.handler import TurnTimeout
from waypost.worker.bot_health import BotHealth
from waypost.worker.scripts import CompiledScripts, ScriptRefused

Turn = Callable[[dict[str, Any], BotEvent], tuple[dict[str, Any], Sequence[Effect]]]


class BotUnusable(Exception):
    """Raised when a number's bot cannot be loaded, or is a plugin that is not allowed. The message says why.

    The number's events use up their attempts and are then dead. Repair the bot, then replay the events.
    """


class BotSource(Protocol):
    """The bots whose turns one part of the worker takes. Drains take the turns of scripts, hosts those of plugins."""

    def serves(self, number: Number) -> bool:
        """Returns whether this part of the worker handles the messages of this number."""

    def turn(self, number: Number) -> Turn | None:
        """Returns the turn function of a number, or None if it has no bot.

        Raises `BotUnusable` and `ScriptNotReady`.
        """


class Bots:
    """The bots that are scripts. If a number's new script is refused, its last good script stays in use."""

    def __init__(self, scripts: CompiledScripts, health: BotHealth | None = None) -> None:
        self._scripts = scripts
        self._health = health or BotHealth(dict, dict)

    def serves(self, number: Number) -> bool:
        """Returns whether the number has a script or has no bot."""
        return number.bot_plugin is None

    def turn(self, number: Number) -> Turn | None:
        """Returns the turn function of a number, or None if it has no bot.

        Raises `BotUnusable` and `ScriptNotReady`.
        """
        if number.bot is None:
            return None
        try:
            return partial(self._turn, number, self._scripts.script(number))
        except ScriptRefused:
            raise BotUnusable(f"the bot of {number.namespace}/{number.name} cannot be loaded; see the log") from None

    def _turn(
        self, number: Number, script: Script, state: dict[str, Any], event: BotEvent
    ) -> tuple[dict[str, Any], Sequence[Effect]]:
        try:
            result = script_turn(script, state, event)
        except (Exception, TurnTimeout) as error:
            self._health.failed(number, Reason.TURNS_FAIL, error=type(error).__name__)
            raise
        self._health.answered(number)
        return result

    def last_good(self, number: Number) -> Turn | None:
        """Returns the turn function of the last script that the number had, or None."""
        script = self._scripts.last_good(number)
        return None if script is None else partial(script_turn, script)
