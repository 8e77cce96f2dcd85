"""The inbox: events as they arrived, each once, counted in the statement that stores them."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from waypost.cloudapi.inbound.delivery import Event
from waypost.store import tally
from waypost.store.connection import bulk
from waypost.store.tables import LANES

Arrival = tuple[Event, str | None]
"""An event and the `traceparent` of the delivery that brought it."""

LONGEST_KEY = 512
"""Bytes. PostgreSQL refuses an index entry over 2,704 bytes; number, kind and key share one."""

LONGEST_NAME = 160
"""Bytes of a number id or contact key; Meta's are under 60."""

LAST_SECOND = 253_402_300_799.0
"""31 December 9999, the last day that Python's `datetime` can hold."""


Counts = dict[tuple[str, str], int]


@dataclass
class Inserted:
    """What one `insert` did: received = duplicates + dead + waiting."""

    received: Counts = field(default_factory=dict)
    """By number id and kind."""
    duplicates: Counts = field(default_factory=dict)
    """By number id and kind."""
    dead: Counts = field(default_factory=dict)
    """By number id and reason."""
    lanes: set[int] = field(default_factory=set)
    """Lanes that hold a new waiting event."""

    def add(self, other: "Inserted") -> None:
        """Count `other` in, as if both had been one call."""
        for mine, theirs in (
            (self.received, other.received),
            (self.duplicates, other.duplicates),
            (self.dead, other.dead),
        ):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.lanes |= other.lanes


def lane_of(number_id: str, contact_key: str) -> int:
    """The lane of a conversation. It is stored with rows, so it must stay the same over versions and machines."""
    return zlib.crc32(f"{number_id}\0{contact_key}".encode("utf-8", "surrogatepass")) % LANES


def unregistered(app_id: str, number_id: str) -> str:
    """The number id under which an app's events are kept while it has no such number.

    It holds the app, so that whoever signs for one app can never put a row, or a dedupe key, into another's number.
    """
    return f"app:{app_id}:{number_id}"


# Ids are drawn in order of arrival, since they break ties within one of Meta's whole seconds; rows go in by key, so
# that two processes that store the same events at once wait for each other in one order and cannot deadlock.
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
), kept AS (
  SELECT number_id, kind, count(*) AS stored, array_agg(reason) FILTER (WHERE reason IS NOT NULL) AS dead,
         array_agg(DISTINCT lane) FILTER (WHERE reason IS NULL) AS lanes
  FROM stored GROUP BY number_id, kind
), outcome AS (
  SELECT number_id, kind, received, received - coalesce(stored, 0) AS duplicates, dead, lanes
  FROM arrived LEFT JOIN kept USING (number_id, kind)
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
    """Store what is new of `arrivals`, in one statement, and count received and duplicate events of each number.

    An event with a `problem` is stored dead. `writer` (0…999) keeps the counters of concurrent processes apart. Texts
    that PostgreSQL could not hold or index are replaced by their digest; the payload is bytes and is kept as it is.
    Raises `sqlalchemy.exc.DBAPIError`.
    """
    events = [event for event, _ in arrivals]
    numbers = [storable(event.number_id, LONGEST_NAME) for event in events]
    contacts = [storable(event.contact_key, LONGEST_NAME) for event in events]
    keys = [storable(event.key, LONGEST_KEY) for event in events]
    kinds = [event.kind.value for event in events]
    lanes = list(map(lane_of, numbers, contacts))
    # Not a number compares false, and is no time at all.
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
    """Whether events can be stored here at all: not on a standby, nor on a server that was set read-only."""
    return bool(
        connection.exec_driver_sql(
            "SELECT NOT pg_is_in_recovery() AND NOT current_setting('default_transaction_read_only')::boolean"
        ).scalar_one()
    )


def storable(value: str, longest: int) -> str:
    """`value` if a text column and its index can hold it, else `sha256:` and its digest."""
    # Neither NUL nor a lone surrogate is printable.
    if len(value) <= longest and value.isprintable() and (value.isascii() or len(value.encode()) <= longest):
        return value
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def strays(connection: Connection) -> list[tuple[str, str]]:
    """(app id, number id) of numbers that events came for while their app had no such number here."""
    rows = connection.execute(
        text("SELECT DISTINCT number_id FROM event WHERE state = 'dead' AND number_id LIKE 'app:%:%' ORDER BY 1")
    )
    found = [row.number_id.split(":", 2) for row in rows]
    return [(app_id, number_id) for _, app_id, number_id in found]


def adopt(connection: Connection, *, app_id: str, number_id: str, writer: int, limit: int = 1_000) -> int:
    """Give a number, now that it is registered, dead events that came for it before; returns how many of them.

    They stay dead: whether somebody is still to be answered is for a person to say, with `waypost dead replay`. What
    the number has received again by itself becomes a duplicate. The counts move along, so that every sum still holds.
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
    known = connection.execute(
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
    moved = {(number_id, "received"): len(rows), (number_id, "duplicate"): known, (apart, "received"): -len(rows)}
    tally.add(connection, writer, {name: count for name, count in moved.items() if count})
    return len(rows)
