"""Runs of schedules: one row per tick, and the outbox rows that each run has queued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from waypost.store.conversations import check_number


@dataclass(frozen=True, slots=True)
class Tick:
    """The identity of a run: its schedule and the minute it was planned for."""

    schedule_uid: str
    planned_at: datetime

    @property
    def key(self) -> str:
        """Returns the prefix of the request keys that the run's outbox rows have."""
        return f"schedule:{self.schedule_uid}:{int(self.planned_at.timestamp()) // 60}:"


@dataclass(frozen=True, slots=True)
class Run:
    """The stored state of a run.

    `orders` are the orders of the run's first attempt. They are None when the run has ended.
    """

    attempts: int
    orders: dict[str, Any] | None = field(repr=False)
    recipients: int
    skipped: dict[str, int]
    result: str | None
    detail: str
    finished_at: datetime | None
    now: datetime
    """The current time by the database's clock."""


def begin_or_resume(
    connection: Connection,
    tick: Tick,
    *,
    namespace: str,
    name: str,
    number_id: str,
    orders: Mapping[str, Any],
    traceparent: str | None,
) -> Run:
    """Begins the run of this tick, or resumes it. If the run has ended already, `result` of the returned run is set."""
    row = connection.execute(
        text("""
            INSERT INTO schedule_run (schedule_uid, planned_at, namespace, name, number_id, orders, traceparent)
            VALUES (:uid, :planned_at, :namespace, :name, :number, CAST(:orders AS jsonb), :traceparent)
            ON CONFLICT (schedule_uid, planned_at) DO UPDATE
                SET attempts = schedule_run.attempts + CAST(schedule_run.finished_at IS NULL AS int)
            RETURNING attempts, orders, recipients, skipped, result, detail, finished_at, clock_timestamp()
        """),
        {
            "uid": tick.schedule_uid,
            "planned_at": tick.planned_at,
            "namespace": namespace,
            "name": name,
            "number": number_id,
            "orders": msgspec.json.encode(orders).decode(),
            "traceparent": traceparent,
        },
    ).one()
    return Run(*row)


def delete_orders(connection: Connection, tick: Tick) -> None:
    """Deletes the orders of old runs that have not finished: they began at least a day before this run.

    No process resumes those runs, and their orders identify people.
    """
    connection.execute(
        text("""
            UPDATE schedule_run SET orders = NULL
            WHERE schedule_uid = :uid AND planned_at < :planned_at - interval '1 day' AND orders IS NOT NULL
        """),
        {"uid": tick.schedule_uid, "planned_at": tick.planned_at},
    )


def owner_of_number(connection: Connection, number_id: str) -> tuple[str, str] | None:
    """Returns namespace and name of the number, as a worker last recorded them.

    Returns None if no worker has recorded the number.
    """
    row = connection.execute(
        text("SELECT namespace, name FROM number WHERE number_id = :id"), {"id": number_id}
    ).one_or_none()
    return None if row is None else (row.namespace, row.name)


def phones_of_contacts(connection: Connection, number_id: str, phones: Sequence[str]) -> set[str]:
    """Returns those of `phones` (digits) that belong to contacts of the number."""
    rows = connection.execute(
        text("SELECT wa_id FROM contact WHERE number_id = :number AND wa_id = ANY(CAST(:phones AS text[]))"),
        {"number": number_id, "phones": list(phones)},
    )
    return {row.wa_id for row in rows}


@dataclass(frozen=True, slots=True)
class ScheduledMessage:
    """One message of a run."""

    conversation_id: int
    contact_id: int
    not_before: datetime | None
    """The earliest time to send it; None means now."""


def queue_messages(
    connection: Connection,
    tick: Tick,
    rows: Sequence[ScheduledMessage],
    *,
    number_id: str,
    body: Mapping[str, Any],
    priority: int,
    traceparent: str | None,
) -> int:
    """Queues one message for each contact that has no message of this run yet. Returns how many were queued.

    The request key contains the contact's id. If two entries name the same person, that person therefore gets one
    message. Raises `ForeignConversation` if a conversation belongs to another number.
    """
    check_number(connection, number_id, [row.conversation_id for row in rows])
    result = connection.execute(
        text("""
            INSERT INTO outbox (number_id, conversation_id, priority, body, request_key, not_before, traceparent)
            SELECT :number, new.conversation_id, :priority, CAST(:body AS jsonb), :key || new.contact_id,
                coalesce(new.not_before, now()), :traceparent
            FROM unnest(CAST(:conversations AS bigint[]), CAST(:contacts AS bigint[]), CAST(:times AS timestamptz[]))
                AS new(conversation_id, contact_id, not_before)
            ON CONFLICT (request_key) DO NOTHING
        """),
        {
            "number": number_id,
            "priority": priority,
            "body": msgspec.json.encode(body).decode(),
            "key": tick.key,
            "traceparent": traceparent,
            "conversations": [row.conversation_id for row in rows],
            "contacts": [row.contact_id for row in rows],
            "times": [row.not_before for row in rows],
        },
    )
    return result.rowcount


def finish(
    connection: Connection,
    tick: Tick,
    *,
    recipients: int = 0,
    skipped: Mapping[str, int] | None = None,
    result: str,
    detail: str = "",
) -> datetime:
    """Writes the result of the run and deletes its orders. Returns the time when the run ended.

    A run that has ended already keeps its result.
    """
    ended: datetime | None = connection.execute(
        text("""
            UPDATE schedule_run SET recipients = :recipients, skipped = CAST(:skipped AS jsonb), result = :result,
                detail = :detail, finished_at = clock_timestamp(), orders = NULL
            WHERE schedule_uid = :uid AND planned_at = :planned_at AND finished_at IS NULL
            RETURNING finished_at
        """),
        {
            "uid": tick.schedule_uid,
            "planned_at": tick.planned_at,
            "recipients": recipients,
            "skipped": msgspec.json.encode(skipped or {}).decode(),
            "result": result,
            "detail": detail,
        },
    ).scalar_one_or_none()
    if ended is None:
        ended = connection.execute(
            text("SELECT finished_at FROM schedule_run WHERE schedule_uid = :uid AND planned_at = :planned_at"),
            {"uid": tick.schedule_uid, "planned_at": tick.planned_at},
        ).scalar_one()
    assert ended is not None
    return ended


@dataclass(frozen=True, slots=True)
class SendCounts:
    """Counts of a run's messages by their state."""

    waiting: int = 0
    """Messages queued for a later time, because of quiet hours or a paused number or pair."""
    due: int = 0
    """Messages that are queued and due, or in flight."""
    sent: int = 0
    failed: int = 0
    unknown: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """Messages that the gate refused, so that Meta was not called, by reason: opted out, outside the window, …"""

    @property
    def total(self) -> int:
        """Returns the number of all messages of the run."""
        return self.waiting + self.due + self.sent + self.failed + self.unknown + sum(self.refused.values())


def sends_of_run(connection: Connection, tick: Tick) -> SendCounts:
    """Returns the counts of the run's messages by their current state."""
    rows = connection.execute(
        text("""
            SELECT CASE
                    WHEN state = 'sending' OR (state = 'queued' AND not_before <= clock_timestamp()) THEN 'due'
                    WHEN state = 'queued' THEN 'waiting'
                    WHEN state = 'failed' AND error_code IS NULL THEN 'refused'
                    ELSE state END AS what,
                CASE WHEN state = 'failed' AND error_code IS NULL THEN coalesce(reason, 'Unknown') END AS reason,
                count(*) AS messages
            FROM outbox
            WHERE request_key IS NOT NULL AND request_key COLLATE "C" >= :key AND request_key COLLATE "C" < :behind
            GROUP BY what, 2
        """),
        {"key": tick.key, "behind": tick.key[:-1] + ";"},  # ";" is the character after ":"
    ).all()
    counts = {row.what: row.messages for row in rows if row.what != "refused"}
    return SendCounts(**counts, refused={row.reason: row.messages for row in rows if row.what == "refused"})
