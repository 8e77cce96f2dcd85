"""The sweeper finds in the database what Redis has lost."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from waypost.lanes.drain import Drain
from waypost.lanes.sweeper import Sweeper

from .conftest import Recorder


def _sweeper(database: Engine, woken: list[int], interval_s: float = 0.0) -> Sweeper:
    return Sweeper(database, woken.extend, interval_s=interval_s, retention_days=9)


@pytest.mark.fault("S2")
def test_a_lane_whose_wake_up_was_lost_is_woken(database: Engine, put: Callable[..., int]) -> None:
    """The sweeper wakes exactly the lanes that have due events and are not being drained."""
    put("waiting", lane=5)
    woken: list[int] = []
    _sweeper(database, woken).sweep()
    assert woken == [5]


def test_a_lane_that_is_being_drained_or_not_due_is_not_woken(database: Engine, put: Callable[..., int]) -> None:
    """The sweeper does not wake a lane that a process holds, or a lane whose events are not due.

    An event that waits for its next attempt is not due.
    """
    put("held", lane=1)
    put("later", lane=2)
    with database.begin() as connection:
        connection.execute(
            text("UPDATE lane SET owner = 'x', lease_expires_at = now() + interval '1 min' WHERE lane = 1")
        )
        connection.execute(text("UPDATE event SET next_attempt_at = now() + interval '1 min' WHERE lane = 2"))
    woken: list[int] = []
    _sweeper(database, woken).sweep()
    assert woken == []


@pytest.mark.fault("P6")
def test_an_event_from_before_the_clock_went_back_is_woken(database: Engine, put: Callable[..., int]) -> None:
    """An event that is due in ten minutes is due now, because no event waits for so long on purpose.

    The clock of the database went back, and so did the end of the lease of its lane.
    """
    put("waiting", lane=2)
    with database.begin() as connection:
        connection.execute(
            text("UPDATE lane SET owner = 'x', lease_expires_at = now() + interval '10 min' WHERE lane = 2")
        )
        connection.execute(text("UPDATE event SET next_attempt_at = now() + interval '10 min'"))
    woken: list[int] = []
    _sweeper(database, woken, interval_s=5.0).sweep()
    assert woken == [2]


def test_only_handled_events_past_their_retention_are_deleted(
    database: Engine, put: Callable[..., int], recorder: Recorder
) -> None:
    """Handled events are deleted after their retention. Waiting and dead events are kept at any age.

    Events of the last days are kept because Meta may deliver them again.
    """
    for key in ("old", "new", "dead", "waiting"):
        put(key, contact=key, lane=0 if key in ("old", "new") else 1)
    Drain(database, recorder, owner="a").run([0])
    with database.begin() as connection:
        connection.execute(text("UPDATE event SET state = 'dead', finished_at = now() WHERE event_key = 'dead'"))
        connection.execute(
            text("UPDATE event SET finished_at = now() - interval '10 days' WHERE event_key IN ('old', 'dead')")
        )
    _sweeper(database, []).tidy()
    with database.connect() as connection:
        remaining = set(connection.execute(text("SELECT event_key FROM event")).scalars())
    assert remaining == {"new", "dead", "waiting"}
