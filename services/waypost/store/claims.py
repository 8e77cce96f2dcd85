"""Claims waiting events: decides which events are handled next, and writes the result of each event.

A drain claims the events of the lanes that it holds. Each number gets an equal share of a claim, so that the
backlog of one number delays no other number. All times are by the database's clock.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from waypost.contracts.states import DailyCount, EventState
from waypost.store import tally
from waypost.store.leases import LeaseLost


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
    suspected: bool = False
    """True if a process ended while it was handling this event and perhaps others, so each is handled alone."""


NUMBERS_PER_CLAIM = 16
"""Most pairs of lane and number that share one claim. The next claim begins behind them."""


def _is_due(column: str) -> str:
    """Returns the condition that an event is due.

    No event waits for five minutes: a later time was written before the clock of the database went back. Without this
    rule such an event would wait for as long as the clock had jumped.
    """
    return f"({column} <= now() OR {column} > now() + interval '5 minutes')"


# A number that has events in a lane, one row a pair, found by one index look-up each however many events wait. The
# recursion yields the first number of every lane before the second of any, and stops once enough pairs are found.
_PAIRS = """
    pair (lane, number_id) AS (
        (SELECT start.lane, following.number_id
         FROM unnest(CAST(:lanes AS smallint[]), CAST(:after AS text[])) WITH ORDINALITY AS start(lane, after, position)
         CROSS JOIN LATERAL (
             SELECT number_id FROM event
             WHERE event.state = 'waiting' AND event.lane = start.lane AND event.number_id > start.after
             ORDER BY number_id LIMIT 1) AS following
         ORDER BY start.position)
        UNION ALL
        SELECT pair.lane, following.number_id FROM pair
        CROSS JOIN LATERAL (
            SELECT number_id FROM event
            WHERE event.state = 'waiting' AND event.lane = pair.lane AND event.number_id > pair.number_id
            ORDER BY number_id LIMIT 1) AS following
    )"""

_COLUMNS = """event.id, event.number_id, event.kind, event.event_key, event.contact_key, event.lane, event.occurred_at,
    event.received_at, event.attempts, event.payload, event.traceparent"""

# Messages of a number whose bot is a plugin are claimed by its hosts. A subquery keeps the order of the pairs, which a
# join could change.
_APART = """({0}.number_id = ANY(CAST(:skipped AS text[])) OR coalesce(
    (SELECT number.hosted FROM number WHERE number.number_id = {0}.number_id), false))"""

_FOR_LANES = "(event.kind <> 'message' OR NOT pair.apart)"

# An event that has lost an attempt holds back the later ones of its conversation until it is done.
_FRESH = f"""
    event.state = 'waiting' AND event.lane = pair.lane AND event.number_id = pair.number_id AND event.attempts = 0
    AND {_is_due("event.next_attempt_at")} AND {_FOR_LANES}
    AND (event.contact_key = '' OR NOT EXISTS (
        SELECT FROM event AS earlier
        WHERE earlier.state = 'waiting' AND earlier.attempts > 0 AND earlier.lane = event.lane
          AND earlier.number_id = event.number_id AND earlier.contact_key = event.contact_key
          AND earlier.kind = event.kind))"""

_CLAIM = text(f"""
    WITH RECURSIVE {_PAIRS},
    candidate AS (
        SELECT pair.lane, pair.number_id, {_APART.format("pair")} AS apart FROM pair
    ),
    taken AS MATERIALIZED (
        SELECT * FROM candidate AS pair WHERE EXISTS (SELECT FROM event WHERE {_FRESH}) LIMIT :pairs
    ),
    retried AS (
        SELECT DISTINCT ON (event.number_id, event.kind, event.contact_key,
                            CASE WHEN event.contact_key = '' THEN event.id END)
            {_COLUMNS}, event.reason IS NULL AS suspected, event.next_attempt_at
        FROM event
        WHERE event.state = 'waiting' AND event.attempts > 0 AND event.lane = ANY(CAST(:lanes AS smallint[]))
          AND (event.kind <> 'message' OR NOT {_APART.format("event")})
        ORDER BY event.number_id, event.kind, event.contact_key,
                 CASE WHEN event.contact_key = '' THEN event.id END, event.occurred_at, event.id
    )
    (SELECT fresh.*, false AS suspected
     FROM taken AS pair CROSS JOIN LATERAL (
         SELECT {_COLUMNS} FROM event WHERE {_FRESH}
         ORDER BY event.occurred_at, event.id
         LIMIT greatest(1, :limit / (SELECT count(*) FROM taken))) AS fresh)
    UNION ALL
    (SELECT id, number_id, kind, event_key, contact_key, lane, occurred_at, received_at, attempts, payload, traceparent,
            suspected
     FROM retried WHERE {_is_due("next_attempt_at")} ORDER BY occurred_at, id LIMIT :limit)
""")  # noqa: S608 - put together from the constants above


def claim(
    connection: Connection, lanes: Mapping[int, str], *, limit: int, skipped: Collection[str] = ()
) -> list[WaitingEvent]:
    """Returns about `limit` due events of these lanes.

    The oldest events of each number come first. Events that failed before come after them. `lanes` gives for each
    lane the number after which the claim begins, or "". If a number is in `skipped` or its bot is a plugin, its
    messages are left out. An event that lost an attempt holds back later events of the same kind and contact, so
    that they keep their order. Within a number, events are ordered by Meta's time stamp.
    """
    rows = connection.execute(
        _CLAIM,
        {
            "lanes": list(lanes),
            "after": list(lanes.values()),
            "skipped": list(skipped),
            "limit": limit,
            "pairs": NUMBERS_PER_CLAIM,
        },
    )
    return [WaitingEvent(*row) for row in rows]


Outcomes = Sequence[tuple[WaitingEvent, str | None]]
"""Events, each with the reason why it is dead or had no effect; None if it had its effect."""


def mark_done(connection: Connection, writer: int, outcomes: Outcomes) -> None:
    """Marks events as done, and counts them in the same transaction.

    `writer` is a lane that this process holds. Raises `LeaseLost` if another process has already finished one of
    the events.
    """
    _finish(connection, EventState.DONE, outcomes)
    per_number = Counter(event.number_id for event, _ in outcomes)
    tally.add(connection, writer, {(number_id, DailyCount.DONE): count for number_id, count in per_number.items()})


def mark_dead(connection: Connection, outcomes: Outcomes, *, attempts: int = 0, detail: str | None = None) -> None:
    """Marks events as dead. The command `waypost dead` lists, replays and drops dead events.

    `attempts` is added to the attempts that were counted before. `detail` says where the bot's code failed.
    Raises `LeaseLost` in the same case as `mark_done`.
    """
    _finish(connection, EventState.DEAD, outcomes, attempts=attempts, detail=detail)


# By the table's check this equals state = 'waiting', but it offers the planner no index of all waiting events. After an
# outage the statistics still say that no event waits. The planner would take that index for empty and read all of it,
# so that a backlog became slower with every event in it.
_STILL_WAITS = "event.state NOT IN ('done', 'dead')"

_FINISH = text(f"""
    UPDATE event SET state = :state, finished_at = now(), reason = finished.reason, attempts = attempts + :attempts,
        detail = :detail
    FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS finished(id, reason)
    WHERE event.id = finished.id AND {_STILL_WAITS}
""")  # noqa: S608 - put together from the constant above


def _finish(
    connection: Connection, state: EventState, outcomes: Outcomes, *, attempts: int = 0, detail: str | None = None
) -> None:
    if not outcomes:
        return
    result = connection.execute(
        _FINISH,
        {
            "state": state,
            "ids": [event.id for event, _ in outcomes],
            "reasons": [reason for _, reason in outcomes],
            "attempts": attempts,
            "detail": detail,
        },
    )
    if result.rowcount != len(outcomes):
        raise LeaseLost(f"another process has finished {len(outcomes) - result.rowcount} of the events")


_RETRY = text(f"""
    UPDATE event SET attempts = attempts + 1, reason = failed.reason,
        next_attempt_at = now() + make_interval(secs => failed.delay)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[]), CAST(:delays AS float8[]))
        AS failed(id, reason, delay)
    WHERE event.id = failed.id AND {_STILL_WAITS}
""")  # noqa: S608 - put together from the constant above


def retry_later(connection: Connection, failed: Sequence[tuple[WaitingEvent, str, float]]) -> None:
    """Counts a failed attempt of each event, with its reason and the seconds until its next attempt."""
    if not failed:
        return
    connection.execute(
        _RETRY,
        {
            "ids": [event.id for event, _, _ in failed],
            "reasons": [reason for _, reason, _ in failed],
            "delays": [delay_s for _, _, delay_s in failed],
        },
    )


# -- messages of numbers whose bots run in hosts

_HOSTED_NUMBERS = text(f"""
    WITH RECURSIVE {_PAIRS}
    SELECT DISTINCT pair.number_id FROM pair JOIN number ON number.number_id = pair.number_id AND number.hosted
    WHERE EXISTS (
        SELECT FROM event WHERE event.state = 'waiting' AND event.lane = pair.lane
            AND event.number_id = pair.number_id AND event.kind = 'message' AND {_is_due("event.next_attempt_at")})
""")  # noqa: S608 - put together from the constant above


def hosted_numbers(connection: Connection, lanes: Collection[int]) -> list[str]:
    """Returns the numbers whose bot is a plugin and that have a due message in one of these lanes."""
    parameters = {"lanes": list(lanes), "after": [""] * len(lanes)}
    return list(connection.execute(_HOSTED_NUMBERS, parameters).scalars())


# The first waiting message of a conversation holds back its later ones, whether it is due or being handled. The oldest
# messages of a lane are looked at, so a contact with more of them hides other conversations of its number there.
_CLAIM_HOSTED = text(f"""
    UPDATE event SET attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => :parked), reason = NULL
    WHERE id = (
        SELECT id FROM event WHERE state = 'waiting' AND {_is_due("next_attempt_at")} AND id IN (
            SELECT head.id FROM unnest(CAST(:lanes AS smallint[])) AS wanted(lane)
            CROSS JOIN LATERAL (
                SELECT DISTINCT ON (contact_key, CASE WHEN contact_key = '' THEN id END) id, next_attempt_at
                FROM (
                    SELECT id, contact_key, occurred_at, next_attempt_at FROM event
                    WHERE state = 'waiting' AND lane = wanted.lane AND number_id = :number AND kind = 'message'
                    ORDER BY occurred_at, id LIMIT 50) AS oldest
                ORDER BY contact_key, CASE WHEN contact_key = '' THEN id END, occurred_at, id) AS head
            WHERE {_is_due("head.next_attempt_at")} LIMIT 16)
        ORDER BY occurred_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, number_id, kind, event_key, contact_key, lane, occurred_at, received_at, attempts, payload,
        traceparent
""")  # noqa: S608 - put together from the constants above


def claim_hosted(
    connection: Connection, number_id: str, lanes: Sequence[int], *, parked_s: float
) -> WaitingEvent | None:
    """Claims the next message of a number for a host.

    The claim counts an attempt and parks the message for `parked_s` seconds. The lanes are searched in the given
    order. Returns None if no conversation of the number has a due message in these lanes. If the process dies,
    the message is due again after `parked_s` seconds. The claim is not protected by a lease. Call `hold_hosted`
    to find out whether the claim is still valid.
    """
    parameters = {"number": number_id, "lanes": list(lanes), "parked": parked_s}
    row = connection.execute(_CLAIM_HOSTED, parameters).one_or_none()
    return None if row is None else WaitingEvent(*row)


def hold_hosted(connection: Connection, event: WaitingEvent) -> bool:
    """Locks a claimed message for this transaction. Returns False if another process has claimed it since."""
    row = connection.execute(
        text("""
            SELECT FROM event WHERE id = :id AND attempts = :attempts AND state NOT IN ('done', 'dead') FOR UPDATE
        """),
        {"id": event.id, "attempts": event.attempts},
    ).one_or_none()
    return row is not None


def put_back(
    connection: Connection,
    event: WaitingEvent,
    *,
    delay_s: float,
    counted: bool,
    reason: str | None = None,
    detail: str | None = None,
) -> None:
    """Makes a held message available for another claim after `delay_s` seconds.

    If `counted` is False, the attempt is not counted.
    """
    connection.execute(
        text("""
            UPDATE event SET next_attempt_at = now() + make_interval(secs => :delay), attempts = attempts - :given_back,
                reason = :reason, detail = :detail
            WHERE id = :id
        """),
        {
            "id": event.id,
            "delay": delay_s,
            "given_back": 0 if counted else 1,
            "reason": reason,
            "detail": detail,
        },
    )


def lanes_with_due_events(connection: Connection, *, idle_s: float) -> list[int]:
    """Returns lanes that no process drains although an event has been due for `idle_s` seconds.

    Such an event means that a wake-up was lost.
    """
    rows = connection.execute(
        text("""
            SELECT lane.lane FROM lane
            CROSS JOIN LATERAL (
                SELECT FROM event WHERE event.state = 'waiting' AND event.lane = lane.lane
                  AND (event.next_attempt_at <= now() - make_interval(secs => :idle)
                       OR event.next_attempt_at > now() + interval '5 minutes') LIMIT 1) AS forgotten
            WHERE owner IS NULL OR lease_expires_at < clock_timestamp()
               OR lease_expires_at > clock_timestamp() + interval '1 minute'
            ORDER BY lane.lane
        """),
        {"idle": idle_s},
    )
    return [row.lane for row in rows]


def delete_finished(connection: Connection, *, days: int, limit: int) -> int:
    """Deletes at most `limit` events that are done and older than `days`. Returns the number of deleted events.

    Dead events stay. Only the events with the lowest ids are looked at, so the cost does not depend on the
    table's size. An old event that finished late, for example because it was dead for long, is deleted later.
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
