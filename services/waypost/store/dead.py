"""Queries on dead events, and on sends that failed or have an unknown outcome.

A person must look at all these events and sends.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from waypost.contracts.states import DailyCount, EventReason
from waypost.store import tally


@dataclass(frozen=True)
class DeadEvent:
    """An event that was given up. Its contact and its content are not read from the database."""

    id: int
    number_id: str
    kind: str
    reason: str | None
    attempts: int
    lane: int
    size: int
    """Size of the event's payload in bytes."""
    occurred_at: datetime
    received_at: datetime
    finished_at: datetime | None
    traceparent: str | None
    detail: str | None = None
    """Where the bot's code failed: files and lines, without what people wrote."""


@dataclass(frozen=True)
class OpenSend:
    """A send that failed, or a send whose answer from Meta never arrived."""

    id: int
    number_id: str
    kind: str
    state: str
    error_code: int | None
    reason: str | None
    attempts: int
    created_at: datetime
    finished_at: datetime | None
    traceparent: str | None


@dataclass(frozen=True)
class Selection:
    """Conditions that select dead events. An empty field does not restrict the selection."""

    ids: tuple[int, ...] = ()
    number_id: str | None = None
    reason: str | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """Returns the bound parameters of the SQL condition `_SELECTED`."""
        return {"ids": list(self.ids), "number": self.number_id, "reason": self.reason}


# The queries order by `id + 0`, because with `id` PostgreSQL would read all handled events along the primary key to
# find the few dead ones.
_SELECTED = """
    state = 'dead'
    AND (cardinality(CAST(:ids AS bigint[])) = 0 OR id = ANY(CAST(:ids AS bigint[])))
    AND (CAST(:number AS text) IS NULL OR number_id = :number)
    AND (CAST(:reason AS text) IS NULL OR reason = :reason)
"""


def events(connection: Connection, selection: Selection, *, limit: int, after: int = 0) -> list[DeadEvent]:
    """Returns dead events in the order of their ids, beginning after the id `after`."""
    rows = connection.execute(
        text(f"""
            SELECT id, number_id, kind, reason, attempts, lane, octet_length(payload), occurred_at, received_at,
                finished_at, traceparent, detail
            FROM event WHERE {_SELECTED} AND id > :after ORDER BY id + 0 LIMIT :limit
        """),  # noqa: S608 - a constant
        {**selection.parameters, "after": after, "limit": limit},
    )
    return [DeadEvent(*row) for row in rows]


def count(connection: Connection, selection: Selection) -> int:
    """Returns how many dead events match the selection."""
    return int(
        connection.execute(
            text(f"SELECT count(*) FROM event WHERE {_SELECTED}"),  # noqa: S608 - a constant
            selection.parameters,
        ).scalar_one()
    )


def sends(connection: Connection, *, number_id: str | None, limit: int, after: int = 0) -> list[OpenSend]:
    """Returns sends in state `unknown` or `failed` in the order of their ids, beginning after the id `after`."""
    rows = connection.execute(
        text("""
            SELECT id, number_id, kind, state, error_code, reason, attempts, created_at, finished_at, traceparent
            FROM outbox
            WHERE state IN ('unknown', 'failed') AND (CAST(:number AS text) IS NULL OR number_id = :number)
                AND id > :after
            ORDER BY id LIMIT :limit
        """),
        {"number": number_id, "limit": limit, "after": after},
    )
    return [OpenSend(*row) for row in rows]


def replay(connection: Connection, selection: Selection, *, limit: int) -> list[tuple[int, int]]:
    """Makes at most `limit` dead events wait again. Returns `(id, lane)` of each of these events.

    The events get all their attempts back.
    """
    rows = connection.execute(
        text(f"""
            UPDATE event SET state = 'waiting', attempts = 0, next_attempt_at = now(), finished_at = NULL,
                reason = NULL, detail = NULL
            WHERE id IN (SELECT id FROM event WHERE {_SELECTED} ORDER BY id + 0 LIMIT :limit FOR UPDATE SKIP LOCKED)
                AND state = 'dead'
            RETURNING id, lane
        """),  # noqa: S608 - a constant
        {**selection.parameters, "limit": limit},
    ).all()
    lanes = sorted({row.lane for row in rows})
    if lanes:
        # A drain that is about to release its lane must look once more, as for a newly stored event.
        connection.execute(
            text("""
                UPDATE lane SET requested = requested + 1 WHERE lane IN (
                    SELECT lane FROM lane WHERE lane = ANY(CAST(:lanes AS smallint[])) ORDER BY lane FOR UPDATE)
            """),
            {"lanes": lanes},
        )
    return sorted((row.id, row.lane) for row in rows)


def drop(connection: Connection, selection: Selection, *, limit: int, writer: int = 0) -> list[int]:
    """Drops at most `limit` dead events, which then count as done but are not handled. Returns their ids."""
    rows = connection.execute(
        text(f"""
            UPDATE event SET state = 'done', reason = :dropped, finished_at = now()
            WHERE id IN (SELECT id FROM event WHERE {_SELECTED} ORDER BY id + 0 LIMIT :limit FOR UPDATE SKIP LOCKED)
                AND state = 'dead'
            RETURNING id, number_id
        """),  # noqa: S608 - a constant
        {**selection.parameters, "limit": limit, "dropped": EventReason.DROPPED},
    ).all()
    per_number = Counter(row.number_id for row in rows)
    tally.add(connection, writer, {(number_id, DailyCount.DONE): count for number_id, count in per_number.items()})
    return sorted(row.id for row in rows)


def not_dead(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Returns the ids in `ids` that do not belong to a dead event, so that a mistyped id can be reported."""
    found = connection.execute(
        text("SELECT id FROM event WHERE state = 'dead' AND id = ANY(CAST(:ids AS bigint[]))"), {"ids": list(ids)}
    ).scalars()
    return sorted(set(ids) - set(found))
