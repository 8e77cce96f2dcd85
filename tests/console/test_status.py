"""Tests which parts of the status need a person, and how the page words them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from waypost.console.status import Status, age, concerns, plural, tone, trace_id
from waypost.store.counts import EventCounts, OutboxCounts
from waypost.store.reports import NumberReport

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def number(**given: Any) -> NumberReport:
    """Returns a number that is healthy, except for the given values."""
    healthy: dict[str, Any] = {
        "number_id": "1",
        "namespace": "team-a",
        "name": "support",
        "waba_id": "2",
        "conditions": ({"type": "Ready", "status": "True"},),
        "paused": False,
        "paused_until": None,
        "pause_code": None,
        "pause_reason": None,
        "updated_at": NOW,
    }
    return NumberReport(**healthy | given)


def status(*numbers: NumberReport, events: EventCounts | None = None, outbox: OutboxCounts | None = None) -> Status:
    """Returns a status of these numbers. The counts belong to number 1."""
    return Status(
        at=NOW,
        numbers=numbers,
        events={"1": events} if events else {},
        outbox={"1": outbox} if outbox else {},
        hour=NOW,
        by_hour=(),
        dead=(),
        sends=(),
    )


NOT_READY = {"type": "Ready", "status": "False", "reason": "TokenExpired", "message": "TokenValid is False"}
BAD_TOKEN = {"type": "TokenValid", "status": "False", "reason": "Expired", "message": "Make a new token."}


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        (status(), []),
        (status(number()), []),
        (status(number(), events=EventCounts(5, 1, 3, 0, 1, oldest_waiting_s=59.0)), []),
        (status(events=EventCounts(1, waiting=1, oldest_waiting_s=61.0)), ["An event has been waiting for 1 min"]),
        (status(events=EventCounts(1, dead=1)), ["1 event given up"]),
        (status(events=EventCounts(5, 1, 1, 1, 1)), ["1: the events do not add up", "1 event given up"]),
        (status(outbox=OutboxCounts(unknown=3)), []),
        (status(outbox=OutboxCounts(unknown=3, unknown_old=2)), ["2 sends of unknown outcome for over an hour"]),
        (status(outbox=OutboxCounts(failed=7)), []),
        (status(number(paused=True, pause_code=190)), ["team-a/support is paused (Meta's error 190)"]),
        (status(number(paused=True)), ["team-a/support is paused"]),
        (status(number(conditions=(BAD_TOKEN,))), ["team-a/support: TokenValid is False"]),
        (status(number(conditions=(NOT_READY, BAD_TOKEN))), ["team-a/support: TokenValid is False"]),
        (status(number(conditions=({"type": "Stalled", "status": "True"},))), ["team-a/support: Stalled is True"]),
        (status(number(conditions=({"type": "Reconciling", "status": "True"},))), []),
        (status(number(conditions=({},))), []),
    ],
)  # fmt: skip
def test_a_concern_is_what_needs_a_person(given: Status, problems: list[str]) -> None:
    """Everything that needs a person is a concern, and nothing else is.

    People ignore a page with false alarms. A page that misses a real problem is worse.
    """
    assert [concern.problem for concern in concerns(given)] == problems


def test_the_worst_comes_first() -> None:
    """The worst concern comes first. For example, a paused number comes before a dead event."""
    found = concerns(status(number(paused=True), events=EventCounts(1, dead=1)))
    assert [concern.level for concern in found] == ["bad", "warn"]


def test_an_event_that_waits_for_minutes_is_worse() -> None:
    """A wait of more than ten minutes makes an event a `bad` concern. A shorter wait makes it a `warn` concern.

    After ten minutes, something has stopped working.
    """
    (short,) = concerns(status(events=EventCounts(1, waiting=1, oldest_waiting_s=100)))
    (long,) = concerns(status(events=EventCounts(1, waiting=1, oldest_waiting_s=1000)))
    assert (short.level, long.level) == ("warn", "bad")


def test_the_message_of_a_condition_is_the_advice() -> None:
    """The advice of a concern is the message of the condition. The operator writes this message to say what to do."""
    (concern,) = concerns(status(number(conditions=(BAD_TOKEN,))))
    assert concern.advice == "Make a new token."


@pytest.mark.parametrize(
    ("kind", "state", "shown"),
    [
        ("Ready", "True", "good"),
        ("Ready", "False", "bad"),
        ("Ready", "Unknown", "idle"),
        ("Stalled", "True", "bad"),
        ("Stalled", "False", "idle"),
        ("Reconciling", "True", "warn"),
        ("Reconciling", "False", "idle"),
    ],
)
def test_a_condition_has_the_colour_of_its_meaning(kind: str, state: str, shown: str) -> None:
    """A condition has the colour of its meaning.

    `Stalled` and `Reconciling` are good when they are not true, as defined by kstatus.
    """
    assert tone(kind, state) == shown


@pytest.mark.parametrize(
    ("seconds", "worded"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (119, "1 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
        (-3, "0 s"),
        (timedelta(hours=3), "3 h"),
    ],
)
def test_an_age_has_one_unit(seconds: float | timedelta | None, worded: str) -> None:
    """An age has one unit and at most three digits."""
    assert age(seconds) == worded


def test_one_is_not_plural() -> None:
    """The page uses the plural for every count except one: 1 event, 0 events, 1,200 events."""
    assert [plural(n, "event") for n in (1, 0, 1200)] == ["1 event", "0 events", "1,200 events"]


def test_a_trace_id_is_taken_from_a_traceparent_only() -> None:
    """A trace id is taken only from a traceparent. Any other text gives no trace id."""
    assert trace_id("00-" + "a" * 32 + "-" + "b" * 16 + "-01") == "a" * 32
    assert trace_id(None) is None
    assert trace_id("odd") is None
