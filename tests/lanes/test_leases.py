"""The lease of a lane has one holder. The database's clock and a fencing number decide who holds it."""

import pytest
from sqlalchemy import Engine, text

from waypost.store import lanes


def _expire(database: Engine, lane: int) -> None:
    with database.begin() as connection:
        connection.execute(
            text("UPDATE lane SET lease_expires_at = now() - interval '1 s' WHERE lane = :lane"), {"lane": lane}
        )


def test_a_held_lane_is_not_given_to_another_process(database: Engine) -> None:
    """A second process that asks for a lane in use finds it held."""
    with database.begin() as connection:
        assert lanes.acquire(connection, 3, "first", ttl_s=30) is not None
    with database.begin() as connection:
        assert lanes.acquire(connection, 3, "second", ttl_s=30) is None


def test_an_expired_lease_is_taken_over_and_the_old_holder_is_refused(database: Engine) -> None:
    """A process that was suspended until after the end of its lease cannot write with that lease."""
    with database.begin() as connection:
        old = lanes.acquire(connection, 3, "suspended", ttl_s=30)
    assert old is not None
    _expire(database, 3)
    with database.begin() as connection:
        new = lanes.acquire(connection, 3, "second", ttl_s=30)
    assert new is not None
    assert new.fence > old.fence
    with pytest.raises(lanes.LeaseLost), database.begin() as connection:
        lanes.renew(connection, old, ttl_s=30, trying=())
    with database.begin() as connection:
        assert not lanes.keep_alive(connection, old, ttl_s=30)
        assert lanes.release_if_drained(connection, old) is None
        lanes.renew(connection, new, ttl_s=30, trying=())


def test_a_request_to_drain_a_held_lane_keeps_its_holder_going(database: Engine) -> None:
    """A job that finds the lane held records a request.

    The holder then cannot release the lane before it has looked for events again.
    """
    with database.begin() as connection:
        lease = lanes.acquire(connection, 3, "holder", ttl_s=30)
    assert lease is not None
    with database.begin() as connection:
        assert lanes.acquire(connection, 3, "late job", ttl_s=30) is None
    with database.begin() as connection:
        again = lanes.release_if_drained(connection, lease)
        assert again is not None
        assert lanes.release_if_drained(connection, again) is None
    with database.begin() as connection:
        assert lanes.acquire(connection, 3, "next", ttl_s=30) is not None
