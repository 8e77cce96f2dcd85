"""Finds numbers with plugins that have messages due, and takes their turns in hosts, in equal shares by number."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.contracts.bot_states import FAILURES
from waypost.hosts.host import Host, HostsUnavailable
from waypost.hosts.pool import Hosts
from waypost.store import claims
from waypost.store.connection.outage import DatabaseOutage
from waypost.store.tables import LANES
from waypost.worker.hosted_turns import HostedTurns, TurnResult

log = structlog.get_logger(__name__)

LOOK_S: Final = 1.0
"""Interval in seconds at which every lane is looked at, for messages that are due again or whose wake-up was lost."""

SHARE_S: Final = 0.25
"""Time in seconds after which a number with more messages gives its host's place to a number that waits."""

PROBE_S: Final = 0.5
"""After `FAILURES` failed turns in a row, a number's bot gets one turn per `PROBE_S` seconds."""


@dataclass
class _Streak:
    """The number of turns of a phone number that failed in a row, and the time of its next turn.

    The time is by the monotonic clock.
    """

    failures: int = 0
    next_at: float = 0.0


class HostedWork:
    """Takes the turns of all plugins of one worker."""

    def __init__(
        self,
        engine: Engine,
        turns: HostedTurns,
        hosts: Hosts,
        *,
        at_once: int,
        has_plugins: Callable[[], bool],
    ) -> None:
        """Creates the work. The work looks at the database only while `has_plugins()` returns True."""
        self._engine = engine
        self._turns = turns
        self._hosts = hosts
        self._has_plugins = has_plugins
        self._changed = threading.Condition()
        self._stopping = False
        self._failed = False
        self._woken: set[int] = set()
        self._changes = False
        self._looks = 0
        self._ready: OrderedDict[str, int] = OrderedDict()
        """Numbers with a message due, each with the look that found it last. Numbers served last stand at the end."""
        self._begun: dict[str, int] = {}
        """For each number the look after which a host began last."""
        self._running: dict[str, int] = {}
        self._streaks: dict[str, _Streak] = {}
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix="host")
        self._thread = threading.Thread(target=self._run, name="hosts", daemon=True)
        self._outage = DatabaseOutage(
            __name__, began="database is away; plugins take no turns", ended="plugins take turns again"
        )

    def start(self) -> None:
        """Starts looking for messages."""
        self._thread.start()

    def stop(self) -> None:
        """Finishes the turns that are running, and ends all hosts."""
        with self._changed:
            self._stopping = True
            self._notify()
        self._thread.join()
        self._executor.shutdown()
        self._hosts.close()

    def wake(self, lanes: Collection[int]) -> None:
        """Makes the thread look at these lanes soon. Never blocks."""
        if not self._has_plugins():
            return
        with self._changed:
            self._woken.update(lanes)
            self._notify()

    def _notify(self) -> None:
        self._changes = True
        self._changed.notify_all()

    # -- numbers

    def problem(self) -> str | None:
        """Returns why plugins take no turns in this process, or None."""
        return "the hosts of plugins have failed" if self._failed else None

    def _run(self) -> None:
        try:
            self._work()
        except Exception:
            # A defect of ours. The worker is not ready any more, so that it is noticed and replaced.
            log.exception("the hosts of plugins have failed")
            self._failed = True

    def _work(self) -> None:
        look_at = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._changes, self._pause_s(look_at))
                self._changes = False
                if self._stopping:
                    return
                lanes, self._woken = self._woken, set()
            if not self._has_plugins():
                look_at = time.monotonic() + LOOK_S
                continue
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_S
                lanes = set(range(LANES))
            if lanes:
                self._look(lanes)
            self._begin()

    def _pause_s(self, look_at: float) -> float:
        now = time.monotonic()
        probes = [self._streaks[number_id].next_at for number_id in self._ready if number_id in self._streaks]
        return max(0.01, min([look_at, *(at for at in probes if at > now)]) - now)

    def _look(self, lanes: Collection[int]) -> None:
        try:
            with self._engine.connect() as connection:
                found = claims.hosted_numbers(connection, sorted(lanes))
        except SQLAlchemyError as error:
            self._outage.failed(error)
            return
        self._outage.answered()
        with self._changed:
            self._looks += 1
            self._ready.update(dict.fromkeys(found, self._looks))

    def _begin(self) -> None:
        """Begins turns of the numbers that are ready, as long as there is a host to spare.

        The other numbers stay ready.
        """
        with self._changed:
            ready = {number_id: look for number_id, look in self._ready.items() if self._may_begin(number_id, look)}
        for number_id, look in ready.items():
            try:
                host = self._hosts.take(number_id)
            except HostsUnavailable as error:
                log.warning("no host can be started", error=str(error))
                return
            if host is None:
                continue
            with self._changed:
                self._begun[number_id] = look
                if number_id in self._ready:
                    self._ready.move_to_end(number_id)
                self._running[number_id] = self._running.get(number_id, 0) + 1
            self._executor.submit(self._serve, number_id, host)

    def _may_begin(self, number_id: str, look: int) -> bool:
        """Returns whether a host may begin a turn of this number.

        A host may begin if the number has a due message that no other host has begun with. After many failures in a
        row, one host may begin at a time, as a probe, when the number's pause is over.
        """
        if look <= self._begun.get(number_id, 0):
            return False
        if not self._fails(number_id):
            return True
        return number_id not in self._running and time.monotonic() >= self._streaks[number_id].next_at

    def _fails(self, number_id: str) -> bool:
        """Returns whether so many turns of the number have failed in a row that it gets single turns."""
        streak = self._streaks.get(number_id)
        return streak is not None and streak.failures >= FAILURES

    # -- turns

    def _serve(self, number_id: str, host: Host) -> None:
        """Takes turns of one number until none is due, another number waits, or its host ends."""
        ended, result, look = False, TurnResult.NONE, 0
        ends_at = time.monotonic() + SHARE_S
        first = time.monotonic_ns() % LANES
        lanes = [*range(first, LANES), *range(first)]
        try:
            while not self._stopping:
                look = self._looks
                result = self._turns.take(number_id, host, lanes)
                if result is TurnResult.NONE:
                    break
                self._note(number_id, failed=result is not TurnResult.DONE)
                ended = result is TurnResult.ENDED
                if ended or self._fails(number_id) or time.monotonic() >= ends_at:
                    break
        except SQLAlchemyError as error:
            self._outage.failed(error)
            result = TurnResult.NONE
        except Exception:
            # A defect of ours. The message is due again once its parking time is over.
            log.exception("a plugin's turn ended by a defect", number=number_id)
            ended = True
            host.close()
        finally:
            self._hosts.give_back(number_id, host, ended=ended)
            with self._changed:
                self._running[number_id] -= 1
                if not self._running[number_id]:
                    del self._running[number_id]
                if result is not TurnResult.NONE:
                    # More messages may be due.
                    self._looks += 1
                    self._ready[number_id] = self._looks
                elif self._ready.get(number_id, 0) <= look:
                    # No message has been found since this host has looked.
                    self._ready.pop(number_id, None)
                    self._begun.pop(number_id, None)
                self._notify()

    def _note(self, number_id: str, *, failed: bool) -> None:
        with self._changed:
            if not failed:
                self._streaks.pop(number_id, None)
                return
            streak = self._streaks.setdefault(number_id, _Streak())
            streak.failures += 1
            if streak.failures >= FAILURES:
                streak.next_at = time.monotonic() + PROBE_S
