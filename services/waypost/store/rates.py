"""Keeps Meta's rate limits, for all processes together and with the clock of the database.

The arithmetic is in the function of the migration. It takes all numbers and rows of a call, in one statement,
so a process that is suspended or cut off holds no lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from waypost.store.connection import bulk


@dataclass(frozen=True, slots=True)
class NumberRequest:
    """What one number asks for. Times are in microseconds; `sending.gcra.Terms` explains the first four."""

    number_id: str
    interval: int
    tolerance: int
    reply_horizon: int
    bulk_horizon: int
    incoming: int = 0
    """Incoming messages to count before the rows."""
    slow_down: bool = False
    """Whether the number's rate is halved first."""
    rows: Sequence[tuple[int, bool, int]] = ()
    """`(conversation, bulk, outbox id)` of each row that is ready to be sent. Earlier rows get earlier starts."""


@dataclass(frozen=True, slots=True)
class StartsGranted:
    """The database's answer. Times are in microseconds."""

    clock: int
    """Time at which the answer was computed, since the epoch, by the clock of the database."""
    answers: list[list[tuple[int, int]]]
    """For each number, `(result, wait)` of each of its rows; see `sending.gcra.Answer`."""


_GRANT = bulk.Statement(
    """
    SELECT array_to_string(grant_starts_v1(
        %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::smallint[],
        %b::bigint[], %b::bigint[], %b::smallint[], %b::smallint[], %b::smallint[], %b::bigint[], %b::bigint[]), ',')
    """,
    [
        bulk.texts,
        *[bulk.bigints] * 5,
        bulk.smallints,
        *[bulk.bigints] * 2,
        *[bulk.smallints] * 3,
        *[bulk.bigints] * 2,
    ],
)


def grant_starts(
    connection: Connection,
    requests: Sequence[NumberRequest],
    *,
    pair_interval: int,
    pair_tolerance: int,
    repeat_after: int,
    test_clock: int | None = None,
) -> StartsGranted:
    """Counts the rows that may be sent, and returns when each of them may start. Each number is asked for once.

    A row that was granted a start is granted another one only `repeat_after` that start, or
    an interval of its number if that is longer.

    Use a connection in autocommit mode, so that no lock outlives the statement. `test_clock` replaces the clock of the
    database, in microseconds since the epoch. Raises `sqlalchemy.exc.DBAPIError`.
    """
    # Sorted, because the function locks the numbers in this order, and all processes must lock in the same one.
    order = sorted(range(len(requests)), key=lambda index: requests[index].number_id)
    numbers = [requests[index] for index in order]
    positions: dict[int, int] = {}
    for number in numbers:
        for conversation, _, _ in number.rows:
            positions.setdefault(conversation, len(positions) + 1)
    rows = [(place, *row) for place, number in enumerate(numbers, start=1) for row in number.rows]
    result = _GRANT.execute(
        connection,
        [
            [number.number_id for number in numbers],
            [number.interval for number in numbers],
            [number.tolerance for number in numbers],
            [number.reply_horizon for number in numbers],
            [number.bulk_horizon for number in numbers],
            [number.incoming for number in numbers],
            [int(number.slow_down) for number in numbers],
            list(positions),
            [outbox_id for _, _, _, outbox_id in rows],
            [place for place, _, _, _ in rows],
            [positions[conversation] for _, conversation, _, _ in rows],
            [int(bulk_row) for _, _, bulk_row, _ in rows],
            [pair_interval, pair_tolerance, repeat_after],
            [] if test_clock is None else [test_clock],
        ],
    )
    clock, *flat = (int(value) for value in str(result[0][0]).split(","))
    answers: list[list[tuple[int, int]]] = [[] for _ in requests]
    for (place, *_), start in zip(rows, range(0, len(flat), 2), strict=True):
        answers[order[place - 1]].append((flat[start], flat[start + 1]))
    return StartsGranted(clock, answers)


def forget_idle_pairs(connection: Connection, *, limit: int) -> int:
    """Deletes the state of at most `limit` pairs that may send a full burst again. Returns how many it deleted.

    It skips pairs that a grant has locked, so it never waits for a grant and cannot deadlock with one. Use a connection
    in autocommit mode, so that no lock outlives the statement: a grant would wait for it.
    """
    result = connection.execute(
        text("""
            DELETE FROM pair_limit WHERE conversation_id IN (
                SELECT conversation_id FROM pair_limit
                WHERE arrival < extract(epoch FROM clock_timestamp()) * 1000000
                LIMIT :limit FOR UPDATE SKIP LOCKED)
        """),
        {"limit": limit},
    )
    return result.rowcount
