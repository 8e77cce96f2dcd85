"""The outbox: messages to send, with the states `queued → sending → sent | failed | unknown`.

A conversation has at most one row in flight. Replies (priority 0) of a conversation go before its bulk
messages. Within a priority, the row with the lower id goes first. A row that waits for a later time therefore
also delays the rows behind it. This keeps the order across retries.

`unknown` is final for the sender, because such a row may have reached Meta. The sender never sends it again.
Only Meta can settle the row. It does so with a status webhook that carries the row's correlation, or with an
answer that arrives after the row's claim expired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from waypost.contracts.states import OutboxState, SendReason


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """The next outbox row of a conversation, with all the facts that decide whether and how it may be sent."""

    outbox_id: int
    conversation_id: int
    number_id: str
    kind: str
    priority: int
    body: dict[str, Any]
    consent_notice: bool
    attempts: int
    not_before: datetime
    correlation: str
    traceparent: str | None
    wa_id: str | None
    user_id: str | None
    opted_out: bool
    marketing_stopped: bool
    window_expires_at: datetime | None
    owner: str
    owner_until: datetime | None
    pair_paused_until: datetime | None
    number_paused_until: datetime | None
    token_digest: str | None
    now: datetime
    """The time when the row was read, by the database's clock, as all times of this class."""


# A row that was due from the beginning stays due if the clock of the database goes back.
_FACTS = """
    o.id, o.conversation_id, o.number_id, o.kind, o.priority, o.body, o.consent_notice, o.attempts,
    CASE WHEN o.not_before <= o.created_at THEN least(o.not_before, clock_timestamp()) ELSE o.not_before END,
    CAST(o.correlation AS text), o.traceparent, contact.wa_id, contact.user_id, contact.opted_out_at IS NOT NULL,
    contact.marketing_stopped_at IS NOT NULL, conversation.window_expires_at, conversation.owner,
    conversation.owner_until, conversation.paused_until, number.paused_until, number.token_digest, clock_timestamp()
"""
_JOINS = """
    JOIN conversation ON conversation.id = o.conversation_id
    JOIN contact ON contact.id = conversation.contact_id
    LEFT JOIN number ON number.number_id = o.number_id
"""

_NEXT_ROWS = text(f"""
    SELECT {_FACTS}
    FROM unnest(CAST(:conversations AS bigint[])) AS wanted(id)
    CROSS JOIN LATERAL (
        SELECT * FROM outbox
        WHERE outbox.conversation_id = wanted.id AND outbox.state IN ('queued', 'sending')
        ORDER BY outbox.state = 'queued', outbox.priority, outbox.id LIMIT 1
    ) AS o
    {_JOINS}
    WHERE o.state = 'queued'
""")  # noqa: S608 - put together from the constants above

# The planner's statistics may be older than a backlog. Then it takes an index of all open rows for nearly empty, and
# reads all of it. So no statement below offers it such an index: a subquery is about one conversation, and a row that
# is selected by its id is not also selected by a state that has an index of its own.

_LOCK = text(f"""
    SELECT {_FACTS}
    FROM outbox AS o
    {_JOINS}
    WHERE o.id = ANY(CAST(:ids AS bigint[])) AND o.state NOT IN ('sending', 'sent', 'failed', 'unknown') AND (
        SELECT other.id FROM outbox AS other
        WHERE other.conversation_id = o.conversation_id AND other.state = 'sending') IS NULL
    ORDER BY o.id
    FOR UPDATE OF o SKIP LOCKED
""")  # noqa: S608 - put together from the constants above


def next_rows(connection: Connection, conversation_ids: Sequence[int]) -> list[OutboxRow]:
    """Returns the next queued row of each conversation that has no row in flight, even if it is not due yet."""
    return [
        OutboxRow(*tuple[Any, ...](row))
        for row in connection.execute(_NEXT_ROWS, {"conversations": list(conversation_ids)})
    ]


def lock(connection: Connection, outbox_ids: Sequence[int]) -> list[OutboxRow]:
    """Locks those of the given rows that are still queued and that no other transaction has locked.

    Returns the locked rows, which are read again.
    """
    rows = connection.execute(_LOCK, {"ids": list(outbox_ids)})
    return [OutboxRow(*tuple[Any, ...](row)) for row in rows]


def mark_sending(
    connection: Connection, owner: str, lease_s: float, bodies: Mapping[int, dict[str, Any] | None]
) -> None:
    """Marks locked rows as in flight for `owner`. A body that is not None replaces the body of its row.

    Raises SQLAlchemy's `IntegrityError` if another row of one of the conversations has just been started.
    """
    if bodies:
        connection.execute(
            text("""
                UPDATE outbox SET state = 'sending', claimed_by = :owner,
                    claim_expires_at = clock_timestamp() + make_interval(secs => :lease_s),
                    body = coalesce(CAST(new.body AS jsonb), outbox.body)
                FROM unnest(CAST(:ids AS bigint[]), CAST(:bodies AS text[])) AS new(id, body)
                WHERE outbox.id = new.id
            """),
            {"owner": owner, "lease_s": lease_s, "ids": list(bodies), "bodies": _json(bodies.values())},
        )


def refuse(connection: Connection, reasons: Mapping[int, str]) -> None:
    """Marks locked rows as failed, because they must not be sent."""
    if reasons:
        connection.execute(
            text("""
                UPDATE outbox SET state = 'failed', reason = new.reason, finished_at = clock_timestamp()
                FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS new(id, reason)
                WHERE outbox.id = new.id
            """),
            {"ids": list(reasons), "reasons": list(reasons.values())},
        )


@dataclass(frozen=True, slots=True)
class RowUpdate:
    """The result of one Graph call. `finish` writes it into the outbox row."""

    outbox_id: int
    state: OutboxState
    """The row's new state: sent, failed, unknown, or queued again."""
    wamid: str | None = None
    code: int | None = None
    reason: str | None = None
    delay_s: float = 0.0
    """Seconds until a row that is queued again is due."""
    counts: bool = False
    """Whether the call counts as an attempt of this message. It does not if the number was paused."""
    body: dict[str, Any] | None = field(default=None, repr=False)
    """The new body of a row that is queued again; None leaves the body as it is."""


_FINISH = text("""
    UPDATE outbox SET
        state = new.state, wamid = coalesce(new.wamid, outbox.wamid), error_code = new.code, reason = new.reason,
        attempts = outbox.attempts + new.counts, body = coalesce(CAST(new.body AS jsonb), outbox.body),
        not_before = CASE WHEN new.state = 'queued' AND new.delay_s > 0
            THEN clock_timestamp() + make_interval(secs => new.delay_s) ELSE outbox.not_before END,
        finished_at = CASE WHEN new.state <> 'queued' THEN clock_timestamp() END,
        claimed_by = NULL, claim_expires_at = NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:wamids AS text[]), CAST(:codes AS int[]),
        CAST(:reasons AS text[]), CAST(:delays AS float8[]), CAST(:counts AS int[]), CAST(:bodies AS text[]))
        AS new(id, state, wamid, code, reason, delay_s, counts, body)
    WHERE outbox.id = new.id AND CASE outbox.state
        WHEN 'sending' THEN outbox.claimed_by = :owner
        WHEN 'unknown' THEN new.state = 'sent' END  -- the answer came after the claim had expired
    RETURNING outbox.id, EXISTS (
        SELECT FROM outbox AS behind
        WHERE behind.conversation_id = outbox.conversation_id AND behind.state IN ('queued', 'sending')
            AND behind.id <> outbox.id)
""")


def finish(connection: Connection, owner: str, updates: Sequence[RowUpdate]) -> dict[int, bool]:
    """Writes the results of calls. Returns, for each written row, whether its conversation has more queued rows.

    A row that `owner` has lost stays as it is, with one exception: if Meta accepted the message, a row in state
    `unknown` becomes `sent`.
    """
    if not updates:
        return {}
    rows = connection.execute(
        _FINISH,
        {
            "owner": owner,
            "ids": [update.outbox_id for update in updates],
            "states": [update.state for update in updates],
            "wamids": [update.wamid for update in updates],
            "codes": [update.code for update in updates],
            "reasons": [update.reason for update in updates],
            "delays": [update.delay_s for update in updates],
            "counts": [int(update.counts) for update in updates],
            "bodies": _json(update.body for update in updates),
        },
    )
    return {row[0]: row[1] for row in rows}


def add_sent_messages(connection: Connection, bodies: Mapping[int, Mapping[str, Any]]) -> None:
    """Stores sent rows as messages of their conversations, unless they are stored already.

    `bodies` maps the id of each row to its body. Either the sender or a status webhook may be the first to learn
    that a row was sent, so both call this function.
    """
    if bodies:
        shown = [readable(body) for body in bodies.values()]
        connection.execute(
            text("""
                INSERT INTO message
                    (number_id, conversation_id, direction, wamid, type, body, occurred_at, outbox_id, traceparent)
                SELECT outbox.number_id, outbox.conversation_id, 'out', outbox.wamid, new.type, new.body,
                    clock_timestamp(), outbox.id, outbox.traceparent
                FROM unnest(CAST(:ids AS bigint[]), CAST(:types AS text[]), CAST(:bodies AS text[]))
                    AS new(id, type, body)
                JOIN outbox ON outbox.id = new.id
                WHERE outbox.wamid IS NOT NULL
                ORDER BY outbox.id
                ON CONFLICT DO NOTHING
            """),
            {"ids": list(bodies), "types": [kind for kind, _ in shown], "bodies": [body for _, body in shown]},
        )


def readable(body: Mapping[str, Any]) -> tuple[str, str | None]:
    """Returns the type of a Graph payload, and the text that a person would read in it."""
    kind = str(body.get("type", "text"))
    content = body.get(kind)
    if not isinstance(content, Mapping):
        return kind, None
    match kind:
        case "text":
            shown = content.get("body")
        case "template":
            shown = content.get("name")
        case "reaction":
            shown = content.get("emoji")
        case "location":
            shown = content.get("name") or content.get("address")
        case "interactive":
            inner = content.get("body")
            shown = inner.get("text") if isinstance(inner, Mapping) else None
        case _:
            shown = content.get("caption") or content.get("filename")
    return kind, shown if isinstance(shown, str) else None


def renew(connection: Connection, owner: str, lease_s: float, outbox_ids: Sequence[int]) -> None:
    """Extends the claims of rows whose calls this process is still making."""
    if outbox_ids:
        connection.execute(
            text("""
                UPDATE outbox SET claim_expires_at = clock_timestamp() + make_interval(secs => :lease_s)
                WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'sending' AND claimed_by = :owner
            """),
            {"owner": owner, "lease_s": lease_s, "ids": list(outbox_ids)},
        )


def give_back(connection: Connection, owner: str, outbox_ids: Sequence[int]) -> None:
    """Queues rows again that `owner` claimed but did not send.

    When the claim of these rows was committed, the database's answer was lost, so the rows were not sent.
    """
    if outbox_ids:
        connection.execute(
            text("""
                UPDATE outbox SET state = 'queued', claimed_by = NULL, claim_expires_at = NULL
                WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'sending' AND claimed_by = :owner
            """),
            {"owner": owner, "ids": list(outbox_ids)},
        )


def expire_claims(connection: Connection) -> list[int]:
    """Marks rows as unknown if their process died during the call. Returns the conversations of these rows.

    A row that marks a message as read becomes failed instead. It does no harm if the mark was sent. No claim lasts for
    a minute. One that seems to was made before the clock went back.
    """
    rows = connection.execute(
        text("""
            UPDATE outbox SET state = CASE WHEN kind = 'read' THEN 'failed' ELSE 'unknown' END, reason = :reason,
                claimed_by = NULL, claim_expires_at = NULL, finished_at = clock_timestamp()
            WHERE id IN (
                SELECT id FROM outbox WHERE state = 'sending'
                    AND (claim_expires_at < clock_timestamp()
                        OR claim_expires_at > clock_timestamp() + interval '1 min')
                ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED)
            RETURNING conversation_id
        """),
        {"reason": SendReason.CLAIM_EXPIRED},
    )
    return [row[0] for row in rows]


_DUE = text("""
    WITH RECURSIVE named AS (
        (SELECT number_id FROM outbox WHERE state = 'queued' ORDER BY number_id LIMIT 1)
        UNION ALL
        SELECT (SELECT outbox.number_id FROM outbox WHERE outbox.state = 'queued'
            AND outbox.number_id > named.number_id ORDER BY outbox.number_id LIMIT 1)
        FROM named WHERE named.number_id IS NOT NULL
    )
    SELECT due.conversation_id
    FROM named
    LEFT JOIN number ON number.number_id = named.number_id
    CROSS JOIN LATERAL (
        SELECT o.conversation_id FROM outbox AS o JOIN conversation ON conversation.id = o.conversation_id
        WHERE o.number_id = named.number_id AND o.state = 'queued'
            AND (o.not_before <= clock_timestamp() OR o.not_before <= o.created_at)
            AND (conversation.paused_until IS NULL OR conversation.paused_until <= clock_timestamp())
            AND o.id = (
                SELECT first.id FROM outbox AS first
                WHERE first.conversation_id = o.conversation_id AND first.state IN ('queued', 'sending')
                ORDER BY first.state = 'queued', first.priority, first.id LIMIT 1)
        ORDER BY o.priority, o.id LIMIT :per_number
    ) AS due
    WHERE named.number_id IS NOT NULL AND (number.paused_until IS NULL OR number.paused_until <= clock_timestamp())
""")


def due_conversations(connection: Connection, limit: int) -> list[int]:
    """Returns conversations whose next row is due and not claimed. Replies come first.

    At most `limit` conversations are returned for each number. Paused numbers and pairs are left out until their
    pause ends.
    """
    return [row[0] for row in connection.execute(_DUE, {"per_number": limit})]


def _json(bodies: Any) -> list[str | None]:
    return [None if body is None else msgspec.json.encode(body).decode() for body in bodies]
