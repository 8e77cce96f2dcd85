"""Leases of lanes. A lease gives one process the right to drain a lane until the lease expires or is released.

Each lease has a fencing number, which makes it exclusive. Every transaction of a drain first locks the rows
of its lanes with their fencing numbers (`hold`). A process may be suspended until its leases have expired. It
then finds other fencing numbers in the rows and writes nothing. All times are by the database's clock.

`hold` takes its locks in the order of the lanes, and `acquire` takes its locks without waiting. So no two
drains wait for each other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


class LeaseLost(Exception):
    """Raised when another process now holds a lane. Discard uncommitted work and do not retry."""


@dataclass(frozen=True)
class Lease:
    """The right to drain one lane until it expires or is released."""

    lane: int
    owner: str
    fence: int
    requested: int
    """How many drains of the lane had been requested when it was last found empty."""


@dataclass(frozen=True)
class Acquired:
    """The result of `acquire`. Every wanted lane is in exactly one of the three fields."""

    leases: tuple[Lease, ...]
    held: frozenset[int]
    """Lanes that another process holds; it will look for events once more before it releases them."""
    locked: frozenset[int]
    """Lanes whose row another transaction has locked. Nothing was requested of them, so wake them again."""


_COMMIT_LAZILY = text("SET LOCAL synchronous_commit TO off")


def commit_lazily(connection: Connection) -> None:
    """Makes this transaction commit without waiting for the disk. Use it for leases and claims, never for effects.

    If the database crashes, the last of these transactions may be lost. No transaction is lost while a later one
    survives, because the log is written in order. If a lease or claim is lost, this is the same as if it had
    never been taken. No other process can hold the lane under the same fencing number, because the owner is
    compared too.
    """
    connection.execute(_COMMIT_LAZILY)


# No lease lasts for a minute: a later end was written before the clock of the database went back.
_ACQUIRE = text("""
    WITH before AS (
        SELECT lane, trying, owner IS NULL OR lease_expires_at < clock_timestamp()
            OR lease_expires_at > clock_timestamp() + interval '1 minute' AS free
        FROM lane WHERE lane = ANY(CAST(:lanes AS smallint[])) ORDER BY lane FOR UPDATE SKIP LOCKED
    )
    UPDATE lane SET
        requested = lane.requested + 1,
        owner = CASE WHEN before.free THEN :owner ELSE lane.owner END,
        fence = lane.fence + before.free::int,
        lease_expires_at = CASE WHEN before.free THEN clock_timestamp() + make_interval(secs => :ttl)
                                ELSE lane.lease_expires_at END,
        trying = CASE WHEN before.free THEN '{}' ELSE lane.trying END
    FROM before WHERE lane.lane = before.lane
    RETURNING lane.lane, before.free, lane.fence, lane.requested, before.trying
""")

_COUNT_CRASH = text("""
    UPDATE event SET attempts = attempts + 1, reason = NULL
    WHERE id = ANY(:ids) AND state NOT IN ('done', 'dead')
""")


def acquire(connection: Connection, lanes: Collection[int], owner: str, *, ttl_s: float) -> Acquired:
    """Takes the lanes that are free, and requests a drain of the lanes that another process holds.

    A lane may be free because its holder vanished. The events that this holder was handling lose an attempt,
    because a crash counts as an attempt. They keep no reason, which marks them as suspected of the crash.
    """
    rows = connection.execute(_ACQUIRE, {"lanes": sorted(lanes), "owner": owner, "ttl": ttl_s}).all()
    suspected = [event_id for row in rows if row.free for event_id in row.trying]
    if suspected:
        connection.execute(_COUNT_CRASH, {"ids": suspected})
    return Acquired(
        leases=tuple(Lease(row.lane, owner, row.fence, row.requested) for row in rows if row.free),
        held=frozenset(row.lane for row in rows if not row.free),
        locked=frozenset(lanes) - {row.lane for row in rows},
    )


_HOLD = text("""
    SELECT lane.lane FROM lane
    JOIN unnest(CAST(:lanes AS smallint[]), CAST(:fences AS bigint[])) AS held(lane, fence) USING (lane, fence)
    WHERE lane.owner = :owner ORDER BY lane.lane FOR UPDATE OF lane
""")


def hold(connection: Connection, leases: Collection[Lease]) -> None:
    """Locks the rows of these lanes for this transaction.

    Raises `LeaseLost` if this process no longer holds one of the lanes.
    """
    if not leases:
        return
    found = connection.execute(_HOLD, _identities(leases)).scalars().all()
    if lost := {lease.lane for lease in leases}.difference(found):
        raise LeaseLost(f"lanes {sorted(lost)}: their fences are no longer current")


_KEEP_ALIVE = text("""
    WITH ours AS (
        SELECT lane.lane FROM lane
        JOIN unnest(CAST(:lanes AS smallint[]), CAST(:fences AS bigint[])) AS held(lane, fence) USING (lane, fence)
        WHERE lane.owner = :owner ORDER BY lane.lane FOR UPDATE OF lane
    )
    UPDATE lane SET lease_expires_at = clock_timestamp() + make_interval(secs => :ttl)
    FROM ours WHERE lane.lane = ours.lane
""")


def keep_alive(connection: Connection, leases: Collection[Lease], *, ttl_s: float) -> int:
    """Extends the leases while their events are being handled. Returns how many of the leases are still held."""
    if not leases:
        return 0
    return connection.execute(_KEEP_ALIVE, {**_identities(leases), "ttl": ttl_s}).rowcount


_CONCLUDE = text("""
    UPDATE lane SET
        owner = CASE WHEN released THEN NULL ELSE owner END,
        lease_expires_at = CASE WHEN released THEN NULL ELSE clock_timestamp() + make_interval(secs => :ttl) END,
        trying = CAST(string_to_array(ids, ',') AS bigint[])
    FROM (
        SELECT held.lane, held.fence, ids,
               ids = '' AND NOT stays AND (:at_once OR held.requested = lane.requested) AS released
        FROM unnest(CAST(:lanes AS smallint[]), CAST(:fences AS bigint[]), CAST(:requested AS bigint[]),
                    CAST(:trying AS text[]), CAST(:stay AS boolean[])) AS held(lane, fence, requested, ids, stays)
        JOIN lane ON lane.lane = held.lane
    ) AS held
    WHERE lane.lane = held.lane AND lane.fence = held.fence AND lane.owner = :owner
    RETURNING lane.lane, released, lane.requested
""")


def conclude(
    connection: Connection,
    leases: Iterable[Lease],
    trying: Mapping[int, Sequence[int]],
    *,
    stay: Collection[int] = (),
    ttl_s: float,
) -> tuple[Lease, ...]:
    """Records the ids of the events that are handled next, and releases each lane that has no such event.

    Returns the leases of the lanes that are not released. `trying` maps each lane to the ids of its events. The
    lanes in `stay` are not released, because they have events for a later batch. A lane is also not released if a
    drain of it was requested since it was last found empty. In that case the caller looks for its events once
    more.
    """
    return _write(connection, leases, trying, stay=stay, ttl_s=ttl_s, at_once=False)


def release(connection: Connection, leases: Iterable[Lease]) -> None:
    """Releases the lanes even if a drain of them was requested. The caller itself requests the next drain."""
    _write(connection, leases, {}, stay=(), ttl_s=0, at_once=True)


def _write(
    connection: Connection,
    leases: Iterable[Lease],
    trying: Mapping[int, Sequence[int]],
    *,
    stay: Collection[int],
    ttl_s: float,
    at_once: bool,
) -> tuple[Lease, ...]:
    leases = sorted(leases, key=lambda lease: lease.lane)
    if not leases:
        return ()
    rows = connection.execute(
        _CONCLUDE,
        {
            **_identities(leases),
            "requested": [lease.requested for lease in leases],
            "trying": [",".join(map(str, trying.get(lease.lane, ()))) for lease in leases],
            "stay": [lease.lane in stay for lease in leases],
            "ttl": ttl_s,
            "at_once": at_once,
        },
    ).all()
    requested = {row.lane: row.requested for row in rows if not row.released}
    return tuple(
        Lease(lease.lane, lease.owner, lease.fence, requested[lease.lane])
        for lease in leases
        if lease.lane in requested
    )


def _identities(leases: Collection[Lease]) -> dict[str, object]:
    return {
        "lanes": [lease.lane for lease in leases],
        "fences": [lease.fence for lease in leases],
        "owner": next(iter(leases)).owner,
    }
