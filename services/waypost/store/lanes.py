"""Lanes and the waiting events in them: who may drain a lane, what is due, how each event ended.

A lease is exclusive by its fencing number: every write of a drain first touches its `lane` row under that number
(`renew`), so a process that slept past its lease finds the number gone and writes nothing. Times are the database's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, text

from waypost.store import tally


class LeaseLost(Exception):
    """Another process holds the lane now; what was not committed must be dropped. Do not retry."""


@dataclass(frozen=True)
class Lease:
    """The right to drain one lane until it expires or is released."""

    lane: int
    owner: str
    fence: int
    requested: int
    """How many wishes to drain were known when the lane was last found empty."""


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """One event of the inbox, due now."""

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


# The same as state = 'waiting' by the table's check, but no reason to walk the index of all that wait. After an outage
# the statistics still say that nobody waits; the planner then takes that index for empty and a backlog becomes slower
# with every event in it.
_STILL_WAITS = "event.state NOT IN ('done', 'dead')"

_COMMIT_LAZILY = text("SET LOCAL synchronous_commit TO off")


def commit_lazily(connection: Connection) -> None:
    """Let the commit of this transaction not wait for the disk: for leases and claims, never for effects.

    Should the database crash, what is lost is the last of these transactions and nothing that was committed after them,
    for the log is written in order. A lost lease or claim is as one that was never taken; nobody else can hold the
    lane under its fence, since the owner counts too.
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
    """Take the lane, or leave word for its holder to look once more and return None.

    Events that the previous holder was trying when it vanished have their attempt counted here: a crash counts.
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
    """Extend the lease and hold its row for this transaction; `trying` are the events about to be handled.

    Returns the wishes to drain known so far. Raises `LeaseLost`.
    """
    row = connection.execute(
        _RENEW,
        {"lane": lease.lane, "fence": lease.fence, "owner": lease.owner, "ttl": ttl_s, "trying": list(trying)},
    ).one_or_none()
    if row is None:
        raise LeaseLost(f"lane {lease.lane}: fence {lease.fence} is no longer current")
    return int(row.requested)


def keep_alive(connection: Connection, lease: Lease, *, ttl_s: float) -> bool:
    """Extend the lease while a batch is being handled; False when it is lost."""
    result = connection.execute(
        text("""
            UPDATE lane SET lease_expires_at = clock_timestamp() + make_interval(secs => :ttl)
            WHERE lane = :lane AND fence = :fence AND owner = :owner
        """),
        {"lane": lease.lane, "fence": lease.fence, "owner": lease.owner, "ttl": ttl_s},
    )
    return result.rowcount == 1


def release(connection: Connection, lease: Lease) -> Lease | None:
    """Give the lane back, unless somebody asked for a drain since it was found empty.

    Returns None when released (or lost), else the lease to go on with.
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


def abandon(connection: Connection, lease: Lease) -> None:
    """Give the lane back whatever was asked for; the caller has queued the next drain itself."""
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
    """The lane's next events, oldest first by Meta's time stamp.

    An event that waits for another attempt holds back the later ones of the same kind and contact: order is kept.
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


def finish(connection: Connection, lane: int, outcomes: Sequence[tuple[WaitingEvent, str | None]]) -> None:
    """Mark events done, each with the reason why it had no effect, or None; counts them in the same transaction."""
    _end(connection, lane, "done", outcomes)
    tally.add(connection, lane, Counter((event.number_id, "done") for event, _ in outcomes))


def bury(connection: Connection, lane: int, outcomes: Sequence[tuple[WaitingEvent, str | None]]) -> None:
    """Mark events dead, each with its reason; `waypost dead` lists, replays and drops them."""
    _end(connection, lane, "dead", outcomes)


_END = text(f"""
    UPDATE event SET state = :state, finished_at = now(), reason = ended.reason
    FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS ended(id, reason)
    WHERE event.id = ended.id AND {_STILL_WAITS}
""")  # noqa: S608 - put together from the constant above


def _end(connection: Connection, lane: int, state: str, outcomes: Sequence[tuple[WaitingEvent, str | None]]) -> None:
    if not outcomes:
        return
    result = connection.execute(
        _END,
        {"state": state, "ids": [event.id for event, _ in outcomes], "reasons": [reason for _, reason in outcomes]},
    )
    if result.rowcount != len(outcomes):
        raise LeaseLost(f"lane {lane}: {len(outcomes) - result.rowcount} events were ended by somebody else")


def put_back(connection: Connection, event: WaitingEvent, *, delay_s: float, reason: str) -> None:
    """Count a failed attempt and let the event wait `delay_s` seconds for the next."""
    connection.execute(
        text(f"""
            UPDATE event SET attempts = attempts + 1, reason = :reason,
                next_attempt_at = now() + make_interval(secs => :delay)
            WHERE id = :id AND {_STILL_WAITS}
        """),  # noqa: S608 - put together from the constant above
        {"id": event.id, "delay": delay_s, "reason": reason},
    )


def postpone(connection: Connection, event: WaitingEvent, *, delay_s: float, reason: str) -> None:
    """Let the event wait `delay_s` seconds. From then on it is handled alone, as one that was tried."""
    connection.execute(
        text(f"""
            UPDATE event SET attempts = greatest(attempts, 1), reason = :reason,
                next_attempt_at = now() + make_interval(secs => :delay)
            WHERE id = :id AND {_STILL_WAITS}
        """),  # noqa: S608 - put together from the constant above
        {"id": event.id, "delay": delay_s, "reason": reason},
    )


def lanes_with_due_events(connection: Connection, *, idle_s: float) -> list[int]:
    """Lanes that nobody drains though an event has been due for `idle_s` seconds: their wake-up was lost."""
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


def forget_finished(connection: Connection, *, days: int, limit: int) -> int:
    """Delete handled events older than `days`, at most `limit`; returns how many. Dead ones stay until dropped.

    Looks at the oldest by id only, so that it costs the same in a table of any size; an old event that ended late, such
    as one that was dead for long, goes when its turn comes.
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
