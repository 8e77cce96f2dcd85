"""Tests the leases of lanes.

Each lane has one holder. The database's clock and a fencing number make sure of this.
"""

import pytest
from sqlalchemy import Engine, text

from waypost.store import leases
from waypost.store.leases import Acquired, Lease


def _acquire(database: Engine, lanes: list[int], owner: str) -> Acquired:
    with database.begin() as connection:
        return leases.acquire(connection, lanes, owner, ttl_s=30)


def _expire(database: Engine, lane: int) -> None:
    with database.begin() as connection:
        connection.execute(
            text("UPDATE lane SET lease_expires_at = now() - interval '1 s' WHERE lane = :lane"), {"lane": lane}
        )


def _hold(database: Engine, *held: Lease) -> None:
    with database.begin() as connection:
        leases.hold(connection, held)


def test_a_held_lane_is_not_given_to_another_process(database: Engine) -> None:
    """A process gets only the lanes that no other process holds, and learns which lanes are held."""
    assert [lease.lane for lease in _acquire(database, [3, 4], "first").leases] == [3, 4]
    second = _acquire(database, [3, 4, 5], "second")
    assert [lease.lane for lease in second.leases] == [5]
    assert (set(second.held), set(second.locked)) == ({3, 4}, set())


def test_an_expired_lease_is_taken_over_and_the_old_holder_is_refused(database: Engine) -> None:
    """A process that was suspended past the end of its lease cannot write with this lease."""
    (old,) = _acquire(database, [3], "suspended").leases
    _expire(database, 3)
    (new,) = _acquire(database, [3], "second").leases
    assert new.fence > old.fence
    with pytest.raises(leases.LeaseLost):
        _hold(database, old)
    with database.begin() as connection:
        assert leases.keep_alive(connection, [old], ttl_s=30) == 0
        assert leases.conclude(connection, [old], {}, ttl_s=30) == ()
    _hold(database, new)


@pytest.mark.fault("P6")
def test_a_lease_from_before_the_clock_went_back_is_free(database: Engine) -> None:
    """A lease whose end is further away than any lease lasts is free: the clock of the database went back.

    Its holder may have died. If it lives, its fencing number is refused like that of an expired lease.
    """
    (old,) = _acquire(database, [3], "before").leases
    with database.begin() as connection:
        connection.execute(text("UPDATE lane SET lease_expires_at = lease_expires_at + interval '10 min'"))
    (new,) = _acquire(database, [3], "after").leases
    with pytest.raises(leases.LeaseLost):
        _hold(database, old)
    _hold(database, new)


def test_one_lost_lane_refuses_the_whole_batch(database: Engine) -> None:
    """The effects of a batch are stored together, so none may be stored if one lane has another holder."""
    kept, lost = _acquire(database, [3, 4], "suspended").leases
    _expire(database, 4)
    _acquire(database, [4], "second")
    with pytest.raises(leases.LeaseLost, match="4"):
        _hold(database, kept, lost)
    _hold(database, kept)


def test_a_request_to_drain_a_held_lane_keeps_its_holder_going(database: Engine) -> None:
    """A job that finds the lane held records a request. The holder cannot release the lane before it looks again."""
    held = _acquire(database, [3], "holder").leases
    _acquire(database, [3], "late job")
    with database.begin() as connection:
        again = leases.conclude(connection, held, {}, ttl_s=30)
        assert [lease.lane for lease in again] == [3]
        assert leases.conclude(connection, again, {}, ttl_s=30) == ()
    assert len(_acquire(database, [3], "next").leases) == 1


def test_a_locked_lane_holds_up_no_other(database: Engine) -> None:
    """If a process is suspended inside a transaction, its lanes stay locked.

    Another process takes the other lanes without waiting.
    """
    (held,) = _acquire(database, [3], "suspended").leases
    with database.begin() as suspended:
        leases.hold(suspended, [held])
        acquired = _acquire(database, [2, 3, 4], "second")
    assert [lease.lane for lease in acquired.leases] == [2, 4]
    assert set(acquired.locked) == {3}


def test_a_lane_with_events_for_a_later_batch_stays(database: Engine) -> None:
    """Only lanes without remaining events are released.

    The ids of the remaining events are recorded for the case of a crash.
    """
    held = _acquire(database, [1, 2, 3], "holder").leases
    with database.begin() as connection:
        remaining = leases.conclude(connection, held, {1: [7, 8]}, stay={2}, ttl_s=30)
        trying = connection.execute(text("SELECT trying FROM lane WHERE lane = 1")).scalar_one()
    assert [lease.lane for lease in remaining] == [1, 2]
    assert trying == [7, 8]
