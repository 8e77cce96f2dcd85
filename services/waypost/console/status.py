"""Reads the data that the console shows, and finds problems that need a person.

All data comes from one snapshot of the database.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, text

from waypost.analytics import hourly
from waypost.contracts.condition_types import ConditionStatus, ConditionType
from waypost.store import counts, reports
from waypost.store.counts import EventCounts, OutboxCounts
from waypost.store.dead import DeadEvent, OpenSend
from waypost.store.reports import HourOfNumber, NumberReport

FRESH_S = 2.0
"""Requests within this time (seconds) share one reading, so that many open browsers do not burden the database."""

SLOW_S = 60.0
"""A waiting event older than this (seconds) is a concern: turns take milliseconds, retries end within a minute."""

LISTED = 20
"""Most dead events, and most open sends, that a page lists; the command line lists all."""


class Tone(StrEnum):
    """Colours on the page. The style sheet has a class for each colour."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Status:
    """The data that was read from the database at one time."""

    at: datetime
    """The time of the reading, by the database's clock."""
    numbers: tuple[NumberReport, ...]
    events: dict[str, EventCounts]
    outbox: dict[str, OutboxCounts]
    hour: datetime
    by_hour: tuple[HourOfNumber, ...]
    dead: tuple[DeadEvent, ...]
    sends: tuple[OpenSend, ...]

    def hours(self, number_id: str | None = None) -> tuple[hourly.Hour, ...]:
        """Returns the counts of messages in the last 48 hours, for one number or for all numbers."""
        return hourly.series(self.hour, self.by_hour, number_id=number_id)

    def number(self, number_id: str) -> NumberReport | None:
        """Returns the number with the given id, or None if it is not registered."""
        return next((number for number in self.numbers if number.number_id == number_id), None)

    def name(self, number_id: str) -> str:
        """Returns the `namespace/name` of a number, or its id if the number is not registered."""
        number = self.number(number_id)
        return f"{number.namespace}/{number.name}" if number else number_id

    @property
    def total(self) -> EventCounts:
        """Returns the sum of the event counts of all numbers."""
        every = self.events.values()
        ages = [each.oldest_waiting_s for each in every if each.oldest_waiting_s is not None]
        return EventCounts(
            received=sum(each.received for each in every),
            duplicate=sum(each.duplicate for each in every),
            done=sum(each.done for each in every),
            dead=sum(each.dead for each in every),
            waiting=sum(each.waiting for each in every),
            oldest_waiting_s=max(ages, default=None),
        )

    @property
    def total_outbox(self) -> OutboxCounts:
        """Returns the sum of the outbox counts of all numbers."""
        every = self.outbox.values()
        return OutboxCounts(
            queued=sum(each.queued for each in every),
            sending=sum(each.sending for each in every),
            unknown=sum(each.unknown for each in every),
            unknown_old=sum(each.unknown_old for each in every),
            failed=sum(each.failed for each in every),
        )


@dataclass(frozen=True, slots=True)
class Concern:
    """A problem that needs a person. It says what is wrong and what to do about it."""

    level: Tone
    problem: str
    advice: str
    number_id: str | None = None
    command: str | None = None


def concerns(status: Status) -> list[Concern]:
    """Returns the problems that need a person, worst first. An empty list means that all is well."""
    found = [concern for number in status.numbers for concern in _concerns_of(number)]
    found += [
        Concern(
            Tone.BAD,
            f"{status.name(number_id)}: the events do not add up",
            "received differs from duplicate + done + dead + waiting: rows were changed by hand, or this is a defect.",
            number_id,
        )
        for number_id, events in status.events.items()
        if not events.holds
    ]
    total, outbox = status.total, status.total_outbox
    if (total.oldest_waiting_s or 0) > SLOW_S:
        found.append(
            Concern(
                Tone.BAD if (total.oldest_waiting_s or 0) > 10 * SLOW_S else Tone.WARN,
                f"An event has been waiting for {age(total.oldest_waiting_s)}",
                "Workers are missing, too few or stuck: look at their pods and logs.",
                command="waypost doctor",
            )
        )
    if total.dead:
        found.append(
            Concern(
                Tone.WARN,
                f"{plural(total.dead, 'event')} given up",
                "Read the reasons, then replay or drop them.",
                command="waypost dead list",
            )
        )
    if outbox.unknown_old:
        found.append(
            Concern(
                Tone.WARN,
                f"{plural(outbox.unknown_old, 'send')} of unknown outcome for over an hour",
                "Meta never said whether it sent them. They are not sent again by themselves: ask the recipients.",
            )
        )
    return sorted(found, key=lambda concern: concern.level)


def _concerns_of(number: NumberReport) -> list[Concern]:
    name = f"{number.namespace}/{number.name}"
    found = []
    if number.paused:
        code = f" (Meta's error {number.pause_code})" if number.pause_code else ""
        found.append(
            Concern(
                Tone.BAD,
                f"{name} is paused{code}",
                f"{number.pause_reason or 'No reason was given.'} Messages wait; nothing is lost.",
                number.number_id,
            )
        )
    for condition in number.conditions:
        kind, state = str(condition.get("type", "")), str(condition.get("status", ""))
        if kind != ConditionType.READY and is_bad(kind, state):
            reason, message = str(condition.get("reason", "")), str(condition.get("message", ""))
            found.append(Concern(Tone.BAD, f"{name}: {kind} is {state}", message or reason, number.number_id))
    return found


def is_bad(kind: str, state: str) -> bool:
    """Returns whether a condition needs a person, as kstatus defines it.

    `Stalled` needs a person if it is true. `Reconciling` never needs one. Any other condition needs one if it is
    false.
    """
    if kind == ConditionType.STALLED:
        return state == ConditionStatus.TRUE
    return kind != ConditionType.RECONCILING and state == ConditionStatus.FALSE


def tone(kind: str, state: str) -> Tone:
    """Returns the colour of a condition."""
    if is_bad(kind, state):
        return Tone.BAD
    if state != ConditionStatus.TRUE:
        return Tone.IDLE
    return Tone.WARN if kind == ConditionType.RECONCILING else Tone.GOOD


def age(seconds: float | timedelta | None) -> str:
    """Returns a duration as text in one unit, such as 4 s, 12 min, 3 h or 2 d. For None, the text is –."""
    if seconds is None:
        return "–"
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit == "min" and seconds >= 60):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def plural(count: int, noun: str) -> str:
    """Returns a count with its noun, such as `1 event` or `1,200 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def read(engine: Engine) -> Status:
    """Reads everything from the database. Raises `sqlalchemy.exc.SQLAlchemyError`."""
    with engine.connect() as connection:
        # All queries see one snapshot, so that the page does not contradict itself.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        hour, by_hour = reports.by_hour(connection)
        return Status(
            at=connection.execute(text("SELECT now()")).scalar_one(),
            numbers=tuple(reports.numbers(connection)),
            events=counts.by_number(connection),
            outbox=counts.outbox_by_number(connection),
            hour=hour,
            by_hour=tuple(by_hour),
            dead=tuple(reports.newest_dead(connection, limit=LISTED)),
            sends=tuple(reports.newest_open_sends(connection, limit=LISTED)),
        )


class Reader:
    """Reads the status for all requests, at most once in `FRESH_S`. Several threads may use it at once."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._status: Status | None = None

    def __call__(self) -> Status:
        """Returns a status that is at most `FRESH_S` seconds old. Raises `sqlalchemy.exc.SQLAlchemyError`."""
        with self._lock:
            if self._status is None or self._clock() - self._at >= FRESH_S:
                self._status = read(self.engine)
                self._at = self._clock()
            return self._status


def as_json(status: Status) -> dict[str, Any]:
    """Returns the data of the status page as JSON types."""
    return {
        "at": status.at.isoformat(),
        "concerns": [
            {"level": c.level, "what": c.problem, "then": c.advice, "numberId": c.number_id, "command": c.command}
            for c in concerns(status)
        ],
        "numbers": [_number_as_json(status, number) for number in status.numbers],
        "events": {number_id: _counts_as_json(events) for number_id, events in status.events.items()},
        "total": _counts_as_json(status.total),
        "messagesPerHour": [
            {"start": hour.start.isoformat(), "in": hour.incoming, "out": hour.outgoing} for hour in status.hours()
        ],
        "dead": [
            {
                "id": event.id,
                "numberId": event.number_id,
                "kind": event.kind,
                "reason": event.reason,
                "attempts": event.attempts,
                "receivedAt": event.received_at.isoformat(),
                "traceId": trace_id(event.traceparent),
            }
            for event in status.dead
        ],
        "sends": [
            {
                "id": send.id,
                "numberId": send.number_id,
                "state": send.state,
                "errorCode": send.error_code,
                "reason": send.reason,
                "attempts": send.attempts,
                "createdAt": send.created_at.isoformat(),
                "traceId": trace_id(send.traceparent),
            }
            for send in status.sends
        ],
    }


def _number_as_json(status: Status, number: NumberReport) -> dict[str, Any]:
    outbox = status.outbox.get(number.number_id, OutboxCounts())
    return {
        "namespace": number.namespace,
        "name": number.name,
        "numberId": number.number_id,
        "wabaId": number.waba_id,
        "conditions": list(number.conditions),
        "paused": {
            "until": number.paused_until.isoformat() if number.paused_until else None,
            "code": number.pause_code,
            "reason": number.pause_reason,
        }
        if number.paused
        else None,
        "outbox": {
            "queued": outbox.queued,
            "sending": outbox.sending,
            "unknown": outbox.unknown,
            "unknownOld": outbox.unknown_old,
            "failed": outbox.failed,
        },
    }


def _counts_as_json(events: EventCounts) -> dict[str, Any]:
    return {
        "received": events.received,
        "duplicate": events.duplicate,
        "done": events.done,
        "dead": events.dead,
        "waiting": events.waiting,
        "holds": events.holds,
        "oldestWaitingSeconds": events.oldest_waiting_s,
    }


def trace_id(traceparent: str | None) -> str | None:
    """Returns the trace id in a W3C `traceparent`, or None if the text cannot be read."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == 4 else None
