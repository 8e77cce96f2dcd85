"""Takes one turn of a plugin: claims a message, asks a host, and stores the result.

The turn holds no lane lease while it runs. A claim counts an attempt and parks the message. The result is
therefore stored only if the message still waits with the same count of attempts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.allowed_plugins import AllowedPlugins
from waypost.bot.effects import Effect
from waypost.bot.event import BotEvent
from waypost.bot.plugin import PluginNotAllowed, PluginNotLoaded
from waypost.contracts.condition_types import Reason
from waypost.contracts.registry import Number
from waypost.contracts.states import EventReason
from waypost.hosts.host import Ended, Host, TurnFailed
from waypost.lanes import retry
from waypost.lanes.handler import NotServedHere, Unhandled
from waypost.store import claims, leases
from waypost.store.claims import WaitingEvent
from waypost.store.connection.database import is_about_content
from waypost.telemetry import metrics, tracing
from waypost.worker.bot_health import BotHealth
from waypost.worker.bots import BotUnusable, Turn
from waypost.worker.turns import TurnBatch, Turns

log = structlog.get_logger(__name__)

PARKED_S: Final = 30.0
"""How long after a turn's deadline a message is due again if its worker has vanished."""


class TurnResult(StrEnum):
    """Results of `HostedTurns.take`."""

    NONE = "none"
    """No message of the number is due."""
    DONE = "done"
    FAILED = "failed"
    ENDED = "ended"
    """The turn failed, and its host has ended."""


_NOT_LOADED: Final = {
    PluginNotAllowed.__name__: Reason.PLUGIN_NOT_ALLOWED,
    PluginNotLoaded.__name__: Reason.PLUGIN_NOT_LOADED,
}
"""Errors because of which a host has no plugin to ask, with the reasons that they are in the condition `BotHealthy`."""


@dataclass
class HostBots:
    """The bots whose turns a host takes. These are the bots of numbers with a plugin.

    If a number's new plugin cannot be loaded, its last good plugin stays in use. If there is no last good plugin,
    the last good script is used.
    """

    host: Host
    allowed: AllowedPlugins
    deadline_s: float
    good: dict[str, str]
    """For each number the plugin that was loaded last."""
    last_script: Callable[[Number], Turn | None]
    is_asked: bool = False
    """Whether a bot was asked for a turn."""
    not_loaded: TurnFailed | None = None
    """Why the number's own plugin could not be used, even if its last good bot has answered."""

    def serves(self, number: Number) -> bool:
        """Returns whether the bot of the number is a plugin."""
        return number.bot_plugin is not None

    def turn(self, number: Number) -> Turn:
        """Returns a function that sends the turn to the host. Raises `BotUnusable`."""
        path = number.bot_plugin
        assert path is not None
        last_good = self.good.get(number.phone_number_id)
        last_script = self.last_script(number)
        if path not in self.allowed and last_good is None:
            problem = f"{path} is not allowed: add it to the platform's list of plugins, WAYPOST_BOT_PLUGINS"
            self.not_loaded = TurnFailed(PluginNotAllowed.__name__, problem)
            if last_script is not None:
                return last_script
            raise BotUnusable(problem)

        def turn(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
            self.is_asked = True
            try:
                result = self._ask(path, state, event)
            except TurnFailed as error:
                if error.error not in _NOT_LOADED:
                    raise
                self.not_loaded = error
                if last_good is not None:
                    return self._ask(last_good, state, event)
                if last_script is not None:
                    return last_script(state, event)
                raise BotUnusable(error.detail) from None
            self.good[number.phone_number_id] = path
            return result

        return turn

    def _ask(self, path: str, state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
        traceparent = tracing.current_traceparent()
        return self.host.turn(path, state, event, deadline_s=self.deadline_s, traceparent=traceparent)


class HostedTurns:
    """Takes turns of plugins in hosts, for one worker. Several threads may call `take` at the same time."""

    def __init__(
        self,
        engine: Engine,
        numbers: Callable[[str], Number | None],
        *,
        allowed: AllowedPlugins,
        deadline_s: float,
        wake_sender: Callable[[Iterable[int]], None],
        charge: Callable[[Mapping[str, int]], None],
        last_script: Callable[[Number], Turn | None] = lambda _number: None,
        health: BotHealth | None = None,
        retry_delays_s: tuple[float, ...] = retry.DELAYS_S,
    ) -> None:
        self._engine = engine
        self._numbers = numbers
        self._allowed = allowed
        self._deadline_s = deadline_s
        self._wake_sender = wake_sender
        self._charge = charge
        self._health = health or BotHealth(dict, dict)
        self._last_script = last_script
        self._retry_delays_s = retry_delays_s
        self._good: dict[str, str] = {}

    def take(self, number_id: str, host: Host, lanes: Sequence[int]) -> TurnResult:
        """Takes the turn of the number's next message. Raises `SQLAlchemyError` if the database is away."""
        with self._engine.begin() as connection:
            leases.commit_lazily(connection)
            event = claims.claim_hosted(connection, number_id, lanes, parked_s=self._deadline_s + PARKED_S)
        if event is None:
            return TurnResult.NONE
        bots = HostBots(host, self._allowed, self._deadline_s, self._good, self._last_script)
        turns = Turns(
            self._numbers,
            bots=bots,
            deadline=nullcontext,
            wake_sender=self._wake_sender,
            charge=self._charge,
        )
        if event.attempts > retry.ATTEMPTS:
            self._give_up(event, EventReason.WORKER_CRASHED, None, turns)
            return TurnResult.FAILED
        try:
            with self._engine.begin() as connection:
                leases.commit_lazily(connection)
                batch = turns.begin(connection, [event])
            reason = batch.handle(event)
            with self._engine.begin() as connection:
                if not claims.hold_hosted(connection, event):
                    log.warning("claim lost; its effects were dropped", event_id=event.id)
                    return TurnResult.DONE
                batch.store(connection)
                claims.mark_done(connection, event.lane, [(event, reason)])
        except NotServedHere:
            self._put_back(event)
            return TurnResult.DONE
        except Unhandled as refusal:
            self._give_up(event, str(refusal), None)
            return TurnResult.DONE
        except Exception as error:
            if isinstance(error, SQLAlchemyError) and not is_about_content(error):
                raise
            self._failed(event, error, turns)
            self._note(event, bots, error)
            return TurnResult.ENDED if isinstance(error, Ended) else TurnResult.FAILED
        batch.committed()
        self._note(event, bots, None)
        return TurnResult.DONE

    def _note(self, event: WaitingEvent, bots: HostBots, error: Exception | None) -> None:
        """Records the result of a turn for the number's condition `BotHealthy`."""
        number = self._numbers(event.number_id)
        if number is None:
            return
        if bots.not_loaded is not None:
            name = bots.not_loaded.error
            self._health.failed(number, _NOT_LOADED[name], error=name, where=bots.not_loaded.detail)
        elif error is None and bots.is_asked:
            self._health.answered(number)
        elif error is not None and bots.is_asked:
            name, where = _explain(error)
            self._health.failed(number, Reason.TURNS_FAIL, error=name, where=where or "")

    def _failed(self, event: WaitingEvent, error: Exception, turns: Turns) -> None:
        reason, detail = _explain(error)
        log.warning(
            "turn failed", event_id=event.id, number=event.number_id, error=reason, at=detail, attempt=event.attempts
        )
        if event.attempts >= retry.ATTEMPTS:
            self._give_up(event, reason, detail, turns)
            return
        delay_s = retry.delay_s(event, event.attempts, self._retry_delays_s)
        with self._engine.begin() as connection:
            if claims.hold_hosted(connection, event):
                claims.put_back(connection, event, delay_s=delay_s, counted=True, reason=reason, detail=detail)

    def _put_back(self, event: WaitingEvent) -> None:
        with self._engine.begin() as connection:
            if claims.hold_hosted(connection, event):
                claims.put_back(connection, event, delay_s=2.0, counted=False)

    def _give_up(self, event: WaitingEvent, reason: str, detail: str | None, turns: Turns | None = None) -> None:
        """Marks the event dead. With `turns`, its message gets into the history, and the contact may get an answer."""
        batch: TurnBatch | None = None
        with self._engine.begin() as connection:
            if not claims.hold_hosted(connection, event):
                return
            if turns is not None:
                batch = self._last_effects(connection, event, turns)
            claims.mark_dead(connection, [(event, reason)], detail=detail)
        if batch is not None:
            batch.committed()
        metrics.events_dead_total.labels(event.number_id, reason).inc()

    def _last_effects(self, connection: Connection, event: WaitingEvent, turns: Turns) -> TurnBatch | None:
        """Stores the effects of giving the event up, and returns their batch, or None if they cannot be stored."""
        try:
            with connection.begin_nested():
                # Not the batch of the turn, whose effects may be what could not be stored.
                batch = turns.begin(connection, [event])
                batch.give_up(event)
                batch.store(connection)
        except SQLAlchemyError as error:
            if not is_about_content(error):
                raise
            log.warning("a dead event leaves no trace in the history", event_id=event.id, error=type(error).__name__)
            return None
        return batch


def _explain(error: Exception) -> tuple[str, str | None]:
    """Returns the reason of a failure, and its place in the plugin. Neither text quotes what a person wrote."""
    if isinstance(error, TurnFailed):
        return error.error, error.detail or None
    if isinstance(error, BotUnusable):
        return type(error).__name__, str(error)
    return type(error).__name__, None
