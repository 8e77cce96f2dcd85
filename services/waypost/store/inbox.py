"""The inbox. It stores each event once, as it arrived, and counts the event in the same statement."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from waypost.cloudapi.inbound.delivery import Event
from waypost.contracts.states import DailyCount
from waypost.store import tally
from waypost.store.connection import bulk
from waypost.store.tables import LANES

Arrival = tuple[Event, str | None]
"""An event and the `traceparent` of the delivery that brought it."""

MAX_KEY_BYTES = 512
"""Largest size of an event key in bytes.

PostgreSQL refuses an index entry over 2,704 bytes; number, kind and key share one.
"""

MAX_NAME_BYTES = 160
"""Largest size of a number id or contact key in bytes; those that Meta sends are under 60."""

LAST_SECOND = 253_402_300_799.0
"""The end of 31 December 9999 in unix seconds: the last second that Python's `datetime` can hold."""


CountsByKey = dict[tuple[str, str], int]


@dataclass
class Inserted:
    """The counts of one call of `insert`: received = duplicates + dead + waiting."""

    received: CountsByKey = field(default_factory=dict)
    """Events by number id and kind."""
    duplicates: CountsByKey = field(default_factory=dict)
    """Events by number id and kind."""
    dead: CountsByKey = field(default_factory=dict)
    """Events by number id and reason."""
    lanes: set[int] = field(default_factory=set)
    """Lanes that hold a new waiting event."""

    def add(self, other: "Inserted") -> None:
        """Adds the counts of `other`, as if both had been one call of `insert`."""
        for mine, theirs in (
            (self.received, other.received),
            (self.duplicates, other.duplicates),
            (self.dead, other.dead),
        ):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.lanes |= other.lanes


def lane_of(number_id: str, contact_key: str) -> int:
    """Returns the lane of a conversation.

    The lane must be the same in all versions and on all machines, because rows store it.
    """
    return zlib.crc32(f"{number_id}\0{contact_key}".encode("utf-8", "surrogatepass")) % LANES


def unregistered(app_id: str, number_id: str) -> str:
    """Returns the number id under which an event is stored if its number is not registered with the app.

    The id contains the app's id. Somebody who holds the secret of one app can therefore never put a row, or a
    dedupe key, into the number of another app.
    """
    return f"app:{app_id}:{number_id}"


# Ids are drawn in order of arrival, since they break ties within one of Meta's whole seconds. Rows are inserted by key,
# so that two processes that store the same events at once lock them in one order and cannot deadlock.
_INSERT = bulk.Statement(
    """
WITH incoming AS MATERIALIZED (
  SELECT nextval('event_id_seq') AS id, arrival.*
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::smallint[], %b::text[], %b::float8[], %b::text[], %b::bytea[],
              %b::text[])
    AS arrival (number_id, kind, event_key, lane, contact_key, occurred_at, reason, payload, traceparent)
), stored AS (
  INSERT INTO event (id, number_id, kind, event_key, lane, contact_key, occurred_at, state, reason, payload,
                     traceparent, finished_at)
  SELECT id, number_id, kind, event_key, lane, contact_key,
         CASE WHEN occurred_at > 0 THEN to_timestamp(occurred_at) ELSE now() END,
         CASE WHEN reason = '' THEN 'waiting' ELSE 'dead' END, nullif(reason, ''), payload, nullif(traceparent, ''),
         CASE WHEN reason = '' THEN NULL ELSE now() END
  FROM incoming
  ORDER BY number_id, kind, event_key, id
  ON CONFLICT (number_id, kind, event_key) DO NOTHING
  RETURNING number_id, kind, lane, reason
), arrived AS (
  SELECT number_id, kind, count(*) AS received FROM incoming GROUP BY number_id, kind
), stored_counts AS (
  SELECT number_id, kind, count(*) AS stored, array_agg(reason) FILTER (WHERE reason IS NOT NULL) AS dead,
         array_agg(DISTINCT lane) FILTER (WHERE reason IS NULL) AS lanes
  FROM stored GROUP BY number_id, kind
), outcome AS (
  SELECT number_id, kind, received, received - coalesce(stored, 0) AS duplicates, dead, lanes
  FROM arrived LEFT JOIN stored_counts USING (number_id, kind)
), counted AS (
  INSERT INTO daily_metric (day, number_id, name, writer, value)
  SELECT (now() AT TIME ZONE 'UTC')::date, number_id, name, (%b::smallint[])[1], sum(value)
  FROM outcome, LATERAL (VALUES ('received', received), ('duplicate', duplicates)) AS metric (name, value)
  WHERE value > 0
  GROUP BY number_id, name
  ORDER BY number_id, name
  ON CONFLICT (day, number_id, name, writer) DO UPDATE SET value = daily_metric.value + excluded.value
)
SELECT number_id, kind, received, duplicates, array_to_string(dead, ','), array_to_string(lanes, ',') FROM outcome
""",
    [
        bulk.texts,
        bulk.texts,
        bulk.texts,
        bulk.smallints,
        bulk.texts,
        bulk.doubles,
        bulk.texts,
        bulk.bytestrings,
        bulk.texts,
        bulk.smallints,
    ],
)


def insert(connection: Connection, arrivals: Sequence[Arrival], writer: int) -> Inserted:
    """Stores the new events of `arrivals` in one statement. Counts received events and duplicates.

    An event with a `problem` is stored as dead. Each process adds its counts to rows of its own, which `writer`
    (0…999) identifies. A text that PostgreSQL could not hold or index is replaced by its digest. The payload is
    stored unchanged, as bytes. Raises `sqlalchemy.exc.DBAPIError`.
    """
    events = [event for event, _ in arrivals]
    numbers = [storable(event.number_id, MAX_NAME_BYTES) for event in events]
    contacts = [storable(event.contact_key, MAX_NAME_BYTES) for event in events]
    keys = [storable(event.key, MAX_KEY_BYTES) for event in events]
    kinds = [event.kind.value for event in events]
    lanes = list(map(lane_of, numbers, contacts))
    # A NaN compares false, so it counts as no time.
    times = [event.occurred_at if 0 < event.occurred_at < LAST_SECOND else 0.0 for event in events]
    reasons = [event.problem or "" for event in events]
    payloads = [event.payload for event in events]
    traces = [traceparent or "" for _, traceparent in arrivals]
    rows = _INSERT.execute(
        connection, (numbers, kinds, keys, lanes, contacts, times, reasons, payloads, traces, [writer])
    )
    inserted = Inserted()
    for number_id, kind, received, duplicates, dead, waiting_lanes in rows:
        assert number_id is not None
        assert kind is not None
        inserted.received[number_id, kind] = int(received or 0)
        if duplicates != "0":
            inserted.duplicates[number_id, kind] = int(duplicates or 0)
        for reason in dead.split(",") if dead else ():
            inserted.dead[number_id, reason] = inserted.dead.get((number_id, reason), 0) + 1
        if waiting_lanes:
            inserted.lanes.update(map(int, waiting_lanes.split(",")))
    return inserted


def is_writable(connection: Connection) -> bool:
    """Returns whether this server accepts writes. A standby or a read-only server does not."""
    return bool(
        connection.exec_driver_sql(
            "SELECT NOT pg_is_in_recovery() AND NOT current_setting('default_transaction_read_only')::boolean"
        ).scalar_one()
    )


def storable(value: str, max_bytes: int) -> str:
    """Returns `value` if a text column and its index can hold it, else `sha256:` and the digest of `value`."""
    # Neither NUL nor a lone surrogate is printable.
    if len(value) <= max_bytes and value.isprintable() and (value.isascii() or len(value.encode()) <= max_bytes):
        return value
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def unregistered_numbers(connection: Connection) -> list[tuple[str, str]]:
    """Returns `(app id, number id)` of numbers whose events arrived before the number was registered with its app."""
    rows = connection.execute(
        text("SELECT DISTINCT number_id FROM event WHERE state = 'dead' AND number_id LIKE 'app:%:%' ORDER BY 1")
    )
    found = [row.number_id.split(":", 2) for row in rows]
    return [(app_id, number_id) for _, app_id, number_id in found]


def adopt(connection: Connection, *, app_id: str, number_id: str, writer: int, limit: int = 1_000) -> int:
    """Assigns dead events to a number that was registered after they had arrived.

    Returns how many events were assigned. The events stay dead. If they are still to be answered, a person
    replays them with `waypost dead replay`. If the same event has also been stored for the number itself, the
    older event is deleted and counts as a duplicate. The counts move to the number too, so that all sums stay
    correct.
    """
    apart = unregistered(app_id, number_id)
    rows = connection.execute(
        text("""
            SELECT id, contact_key FROM event WHERE number_id = :apart AND state = 'dead'
            ORDER BY id LIMIT :limit FOR UPDATE
        """),
        {"apart": apart, "limit": limit},
    ).all()
    if not rows:
        return 0
    ids = [row.id for row in rows]
    duplicates = connection.execute(
        text("""
            DELETE FROM event AS early USING event AS later
            WHERE early.id = ANY(:ids) AND later.number_id = :number
              AND later.kind = early.kind AND later.event_key = early.event_key
        """),
        {"ids": ids, "number": number_id},
    ).rowcount
    connection.execute(
        text("""
            UPDATE event SET number_id = :number, lane = own.lane
            FROM unnest(CAST(:ids AS bigint[]), CAST(:lanes AS smallint[])) AS own (id, lane)
            WHERE event.id = own.id
        """),
        {"number": number_id, "ids": ids, "lanes": [lane_of(number_id, row.contact_key) for row in rows]},
    )
    moved = {
        (number_id, DailyCount.RECEIVED): len(rows),
        (number_id, DailyCount.DUPLICATE): duplicates,
        (apart, DailyCount.RECEIVED): -len(rows),
    }
    tally.add(connection, writer, {name: count for name, count in moved.items() if count})
    return len(rows)
