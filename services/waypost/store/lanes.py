"""Lanes and the waiting events in them: leases, the events that are due, and the result of each event.

The fencing number of a lease makes the lease exclusive. Every transaction of a drain first updates its `lane`
row under that number (`renew`). A process that was suspended until after the end of its lease finds another
number there and writes nothing. All times are by the database's clock.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, text

from waypost.contracts.states import DailyCount, EventState
from waypost.store import tally


class LeaseLost(Exception):
    """Raised when another process holds the lane now. Discard uncommitted work; do not retry."""


@dataclass(frozen=True)
class Lease:
    """The right to drain one lane. The right ends when the lease expires or is released."""

    lane: int
    owner: str
    fence: int
    requested: int
    """How many drains of the lane had been requested when it was last found empty."""


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """One event of the inbox that is due now."""

    id: int
    number_id: str
    kind: str
    event_key: str
    contact_key: str
    lane: int
    occurred_at: datetime
    received_at: datetime
    attempts: int
    payload: bytes
    traceparent: str | None


# By the table's check this equals state = 'waiting', but it offers the planner no index of all waiting events. After an
# outage the statistics still say that no event waits. The planner would take that index for empty and read all of it,
# so that a backlog became slower with every event in it.
_STILL_WAITS = "event.state NOT IN ('done', 'dead')"

_COMMIT_LAZILY = text("SET LOCAL synchronous_commit TO off")


def commit_lazily(connection: Connection) -> None:
    """Makes this transaction commit without waiting for the disk. Use it for leases and claims, never for effects.

    If the database crashes, the last of these transactions may be lost. They are not lost if an ordinary
    transaction has been committed after them, because the log is written in order. A lost lease or claim is the
    same as one that was never taken. No other process can hold the lane under the same fencing number, because
    the owner is compared too.
    """
    connection.execute(_COMMIT_LAZILY)


_ACQUIRE = text("""
    WITH before AS (
        SELECT lane, trying, owner IS NULL OR lease_expires_at < clock_timestamp() AS free
        FROM lane WHERE lane = :lane FOR UPDATE
    )
    UPDATE lane SET
        requested = lane.requested + 1,
        owner = CASE WHEN before.free THEN :owner ELSE lane.owner END,
        fence = lane.fence + before.free::int,
        lease_expires_at = CASE WHEN before.free THEN clock_timestamp() + make_interval(secs => :ttl)
                                ELSE lane.lease_expires_at END,
        trying = CASE WHEN before.free THEN '{}' ELSE lane.trying END
    FROM before WHERE lane.lane = before.lane
    RETURNING before.free, lane.fence, lane.requested, before.trying
""")


def acquire(connection: Connection, lane: int, owner: str, *, ttl_s: float) -> Lease | None:
    """Takes the lane and returns the lease. If another process holds the lane, requests a drain and returns None.

    Events that a vanished holder was handling lose an attempt, because a crash counts as an attempt.
    """
    row = connection.execute(_ACQUIRE, {"lane": lane, "owner": owner, "ttl": ttl_s}).one()
    if not row.free:
        return None
    if row.trying:
        connection.execute(
            text(f"UPDATE event SET attempts = attempts + 1 WHERE id = ANY(:ids) AND {_STILL_WAITS}"),  # noqa: S608
            {"ids": list(row.trying)},
        )
    return Lease(lane, owner, row.fence, row.requested)


_RENEW = text("""
    UPDATE lane SET lease_expires_at = clock_timestamp() + make_interval(secs => :ttl), trying = :trying
    WHERE lane = :lane AND fence = :fence AND owner = :owner
    RETURNING requested
""")


def renew(connection: Connection, lease: Lease, *, ttl_s: float, trying: Sequence[int]) -> int:
    """Extends the lease and locks the lane's row for this transaction.

    `trying` are the events that are about to be handled. Returns how many drains of the lane have been requested.
    Raises `LeaseLost`.
    """
    row = connection.execute(
        _RENEW,
        {"lane": lease.lane, "fence": lease.fence, "owner": lease.owner, "ttl": ttl_s, "trying": list(trying)},
    ).one_or_none()
    if row is None:
        raise LeaseLost(f"lane {lease.lane}: fence {lease.fence} is no longer current")
    return int(row.requested)


def keep_alive(connection: Connection, lease: Lease, *, ttl_s: float) -> bool:
    """Extends the lease while a batch is being handled. Returns False if the lease is lost."""
    result = connection.execute(
        text("""
            UPDATE lane SET lease_expires_at = clock_timestamp() + make_interval(secs => :ttl)
            WHERE lane = :lane AND fence = :fence AND owner = :owner
        """),
        {"lane": lease.lane, "fence": lease.fence, "owner": lease.owner, "ttl": ttl_s},
    )
    return result.rowcount == 1


def release_if_drained(connection: Connection, lease: Lease) -> Lease | None:
    """Releases the lane, unless a drain was requested since the lane was found empty.

    Returns None if the lane was released or the lease was lost. Otherwise returns the lease for continuing the
    drain.
    """
    row = connection.execute(
        text("""
            UPDATE lane SET
                owner = CASE WHEN requested = :requested THEN NULL ELSE owner END,
                lease_expires_at = CASE WHEN requested = :requested THEN NULL ELSE lease_expires_at END,
                trying = '{}'
            WHERE lane = :lane AND fence = :fence AND owner = :owner
            RETURNING owner, requested
        """),
        {"lane": lease.lane, "fence": lease.fence, "owner": lease.owner, "requested": lease.requested},
    ).one_or_none()
    if row is None or row.owner is None:
        return None
    return replace(lease, requested=int(row.requested))


def release_now(connection: Connection, lease: Lease) -> None:
    """Releases the lane even if a drain was requested. The caller itself requests the next drain."""
    connection.execute(
        text("""
            UPDATE lane SET owner = NULL, lease_expires_at = NULL, trying = '{}'
            WHERE lane = :lane AND fence = :fence AND owner = :owner
        """),
        {"lane": lease.lane, "fence": lease.fence, "owner": lease.owner},
    )


_DELAYED = text("""
    SELECT DISTINCT number_id, kind, contact_key FROM event
    WHERE state = 'waiting' AND attempts > 0 AND lane = :lane AND next_attempt_at > now() AND contact_key <> ''
""")

_DUE = text("""
    SELECT id, number_id, kind, event_key, contact_key, lane, occurred_at, received_at, attempts, payload, traceparent
    FROM event
    WHERE state = 'waiting' AND lane = :lane AND next_attempt_at <= now()
      AND (number_id, kind, contact_key) NOT IN (
          SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:kinds AS text[]), CAST(:contacts AS text[])))
    ORDER BY occurred_at, id LIMIT :limit
""")


def due(connection: Connection, lane: int, *, limit: int) -> list[WaitingEvent]:
    """Returns the lane's next events. The event with the oldest time stamp of Meta comes first.

    If an event waits for another attempt, later events of the same kind and contact wait too, to keep their
    order.
    """
    delayed = connection.execute(_DELAYED, {"lane": lane}).all()
    rows = connection.execute(
        _DUE,
        {
            "lane": lane,
            "limit": limit,
            "numbers": [row.number_id for row in delayed],
            "kinds": [row.kind for row in delayed],
            "contacts": [row.contact_key for row in delayed],
        },
    )
    return [WaitingEvent(*row) for row in rows]


Outcomes = Sequence[tuple[WaitingEvent, str | None]]
"""Events, each with the reason why it is dead or had no effect; None if it had its effect."""


def mark_done(connection: Connection, lane: int, outcomes: Outcomes) -> None:
    """Marks events done, and counts them in the same transaction."""
    _finish(connection, lane, EventState.DONE, outcomes)
    per_number = Counter(event.number_id for event, _ in outcomes)
    tally.add(connection, lane, {(number_id, DailyCount.DONE): count for number_id, count in per_number.items()})


def mark_dead(connection: Connection, lane: int, outcomes: Outcomes) -> None:
    """Marks events as dead. `waypost dead` lists, replays and drops dead events."""
    _finish(connection, lane, EventState.DEAD, outcomes)


_FINISH = text(f"""
    UPDATE event SET state = :state, finished_at = now(), reason = finished.reason
    FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS finished(id, reason)
    WHERE event.id = finished.id AND {_STILL_WAITS}
""")  # noqa: S608 - put together from the constant above


def _finish(connection: Connection, lane: int, state: EventState, outcomes: Outcomes) -> None:
    if not outcomes:
        return
    result = connection.execute(
        _FINISH,
        {"state": state, "ids": [event.id for event, _ in outcomes], "reasons": [reason for _, reason in outcomes]},
    )
    if result.rowcount != len(outcomes):
        raise LeaseLost(f"lane {lane}: another process has finished {len(outcomes) - result.rowcount} of the events")


def retry_later(connection: Connection, event: WaitingEvent, *, delay_s: float, reason: str) -> None:
    """Counts a failed attempt. The event waits `delay_s` seconds for its next attempt."""
    connection.execute(
        text(f"""
            UPDATE event SET attempts = attempts + 1, reason = :reason,
                next_attempt_at = now() + make_interval(secs => :delay)
            WHERE id = :id AND {_STILL_WAITS}
        """),  # noqa: S608 - put together from the constant above
        {"id": event.id, "delay": delay_s, "reason": reason},
    )


def postpone(connection: Connection, event: WaitingEvent, *, delay_s: float, reason: str) -> None:
    """Makes the event wait `delay_s` seconds without counting an attempt.

    From then on the event is handled in a batch of its own, like an event that failed before.
    """
    connection.execute(
        text(f"""
            UPDATE event SET attempts = greatest(attempts, 1), reason = :reason,
                next_attempt_at = now() + make_interval(secs => :delay)
            WHERE id = :id AND {_STILL_WAITS}
        """),  # noqa: S608 - put together from the constant above
        {"id": event.id, "delay": delay_s, "reason": reason},
    )


def lanes_with_due_events(connection: Connection, *, idle_s: float) -> list[int]:
    """Returns lanes that no process drains although an event has been due for `idle_s` seconds.

    In such a lane, a wake-up was lost.
    """
    rows = connection.execute(
        text("""
            SELECT lane.lane FROM lane
            CROSS JOIN LATERAL (
                SELECT FROM event WHERE event.state = 'waiting' AND event.lane = lane.lane
                  AND event.next_attempt_at <= now() - make_interval(secs => :idle) LIMIT 1) AS forgotten
            WHERE owner IS NULL OR lease_expires_at < clock_timestamp()
            ORDER BY lane.lane
        """),
        {"idle": idle_s},
    )
    return [row.lane for row in rows]


def delete_finished(connection: Connection, *, days: int, limit: int) -> int:
    """Deletes at most `limit` events that are done and older than `days`. Returns how many. Dead events stay.

    The query looks only at the events with the lowest ids, so its cost does not depend on the table's size. An
    old event that finished late is deleted later. An example is an event that was dead for a long time.
    """
    result = connection.execute(
        text("""
            DELETE FROM event WHERE id IN (
                SELECT id FROM (
                    SELECT id, finished_at FROM event WHERE state = 'done' ORDER BY id LIMIT 10 * :limit) AS oldest
                WHERE finished_at < now() - make_interval(days => :days) ORDER BY id LIMIT :limit)
        """),
        {"days": days, "limit": limit},
    )
    return result.rowcount
