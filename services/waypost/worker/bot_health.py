"""Records for each number whether its bot answers, for the document that the operator reads on the probe port."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from waypost.contracts.bot_states import FAILURES, FIRST_FAILURES, BotState, BotStates
from waypost.contracts.condition_types import Reason
from waypost.contracts.registry import Number

LONGEST_WHERE: Final = 300


@dataclass(slots=True)
class _Record:
    bot: str
    """The plugin or the digest of the script. Another bot gets another record."""
    since: float
    answered_at: float | None = None
    failed_at: float | None = None
    failures: int = 0
    reason: Reason = Reason.ANSWERS
    error: str = ""
    where: str = ""


class BotHealth:
    """The bots that this worker has tried. Several threads may use it at once."""

    def __init__(
        self,
        numbers: Callable[[], Mapping[str, Number]],
        refused_scripts: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Creates an empty record. `refused_scripts` returns what is wrong with scripts, by the number's id."""
        self._numbers = numbers
        self._refused_scripts = refused_scripts
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._refused_since: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def answered(self, number: Number) -> None:
        """Records that a turn of the number's bot has succeeded."""
        record, now = self._records.get(number.phone_number_id), self._clock()
        # Without the lock, since this is so for nearly every message.
        if record is not None and not record.failures and record.bot == _bot(number):
            record.answered_at = now
            return
        with self._lock:
            record = self._record(number, now)
            if record.failures:
                record.since = now
            record.failures, record.reason, record.error, record.where = 0, Reason.ANSWERS, "", ""
            record.answered_at = now

    def failed(self, number: Number, reason: Reason, *, error: str, where: str = "") -> None:
        """Records that a turn has failed. The first failure for this reason since an answer is described."""
        now = self._clock()
        with self._lock:
            record = self._record(number, now)
            if not record.failures or record.reason is not reason:
                record.since, record.reason, record.failures = now, reason, 0
                record.error, record.where = error[:100], where[:LONGEST_WHERE]
            record.failures += 1
            record.failed_at = now

    def document(self) -> bytes:
        """Returns the states of all bots that were tried, as JSON (`BotStates`)."""
        return msgspec.json.encode(BotStates(bots=tuple(self.states())))

    def states(self) -> list[BotState]:
        """Returns the states of all bots that were tried and are still in the registry, with refused scripts."""
        numbers, refused = self._numbers(), self._refused_scripts()
        now = self._clock()
        with self._lock:
            for identity in self._records.keys() - numbers.keys():
                del self._records[identity]
            found = [
                _state(numbers[identity], record)
                for identity, record in self._records.items()
                if identity not in refused and record.bot == _bot(numbers[identity])
            ]
            bots = {identity: (identity, _bot(numbers[identity])) for identity in refused if identity in numbers}
            self._refused_since = {each: self._refused_since.get(each, now) for each in bots.values()}
            for identity, each in bots.items():
                found.append(_refused(numbers[identity], refused[identity], self._refused_since[each]))
        return found

    def _record(self, number: Number, now: float) -> _Record:
        record, bot = self._records.get(number.phone_number_id), _bot(number)
        if record is None or record.bot != bot:
            record = self._records[number.phone_number_id] = _Record(bot, now)
        return record


def _bot(number: Number) -> str:
    return number.bot_plugin or number.bot_digest or ""


def _state(number: Number, record: _Record) -> BotState:
    enough = FIRST_FAILURES if record.answered_at is None else FAILURES
    is_blamed = record.reason is not Reason.TURNS_FAIL or record.failures >= enough
    healthy: bool | None = False
    reason = record.reason
    if reason is Reason.ANSWERS or (not is_blamed and record.answered_at is not None):
        healthy, reason = True, Reason.ANSWERS
    elif not is_blamed:
        healthy, reason = None, Reason.NOT_TRIED
    return BotState(
        namespace=number.namespace,
        name=number.name,
        healthy=healthy,
        reason=reason,
        since=record.since,
        answered_at=record.answered_at,
        failed_at=record.failed_at,
        failures=record.failures,
        error=record.error,
        where=record.where,
    )


def _refused(number: Number, problem: str, since: float) -> BotState:
    return BotState(
        namespace=number.namespace,
        name=number.name,
        healthy=False,
        reason=Reason.SCRIPT_REFUSED,
        since=since,
        failed_at=since,
        failures=1,
        error="ScriptError",
        where=problem[:LONGEST_WHERE],
    )
