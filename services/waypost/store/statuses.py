"""Stores statuses of sent messages. Meta may report a status late, out of order, more than once, or not at all.

Every status is stored. The status of a message is the highest-ranking status that has arrived so far.
Statuses can arrive in any order: `read` may come without `delivered`, and `sent` may come after both.
`failed` ranks above `sent` but below all other statuses, because a message that a person has read did not
fail.

A status carries our row's correlation in `biz_opaque_callback_data`. A status can therefore settle a row
whose outcome was unknown, even before our own call has returned.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from waypost.cloudapi.inbound.records import InboundStatus
from waypost.contracts.states import MessageStatus, SendReason
from waypost.store import outbox

CALLBACK_PREFIX = "waypost:"
"""Prefix of the callback data of our messages; the correlation of the outbox row follows the prefix."""

RANKS: dict[str, int] = {
    MessageStatus.SENT: 1,
    MessageStatus.FAILED: 2,
    MessageStatus.DELIVERED: 3,
    MessageStatus.READ: 4,
    MessageStatus.PLAYED: 5,
}
"""Ranks of statuses: a message has the highest one seen. A status without a rank is stored and changes nothing."""


@dataclass(frozen=True, slots=True, order=True)
class MergedStatus:
    """All statuses of a message so far, merged into one. `max` merges two such objects in any order of arrival."""

    rank: int = 0
    error_code: int = 0
    """Meta's code for a failed message; 0 for none. Of two codes the higher one is kept; the choice is arbitrary."""

    @property
    def status(self) -> str | None:
        """Returns Meta's name of the status, or None before the first status."""
        return next((name for name, rank in RANKS.items() if rank == self.rank), None)


def merged(status: str, error_code: int | None) -> MergedStatus:
    """Returns one status as a `MergedStatus`, which can be merged with others."""
    rank = RANKS.get(status, 0)
    return MergedStatus(rank, (error_code or 0) if rank == RANKS[MessageStatus.FAILED] else 0)


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that Meta first accepted and later reported as failed."""

    number_id: str
    conversation_id: int
    code: int
    sent_at: float
    """The time at which we sent it, unix seconds."""


@dataclass(slots=True)
class Applied:
    """The changes that a batch of statuses made."""

    traceparents: list[str | None]
    """The `traceparent` of the send that each status is about, in the order of the statuses."""
    matched: list[bool]
    """Whether each status is about a message that this installation sent, in the order of the statuses."""
    settled: list[int] = field(default_factory=list)
    """Conversations of rows that were in flight or unknown, or would have been sent again."""
    failures: list[Failure] = field(default_factory=list)


@dataclass(slots=True)
class _Message:
    id: int
    conversation_id: int
    outbox_id: int | None
    traceparent: str | None
    occurred_at: float
    merged: MergedStatus
    before: MergedStatus
    added: list[dict[str, Any]] = field(default_factory=list)


Key = tuple[str, str]
"""Number id and wamid."""


def apply(connection: Connection, statuses: Sequence[InboundStatus]) -> Applied:
    """Writes statuses into messages and the outbox, in the caller's transaction.

    A status that arrives twice is stored twice.
    """
    applied = Applied([None] * len(statuses), [False] * len(statuses))
    keys = [(status.number_id, status.wamid) for status in statuses]
    found = _messages(connection, keys)
    unmatched = [status for status, key in zip(statuses, keys, strict=True) if key not in found]
    settled = _settle(connection, unmatched)
    if settled:
        applied.settled = [conversation_id for _, conversation_id in settled]
        found |= _messages(connection, [key for key, _ in settled])
    for position, (status, key) in enumerate(zip(statuses, keys, strict=True)):
        message = found.get(key)
        if message is None:
            continue
        applied.matched[position] = True
        applied.traceparents[position] = message.traceparent
        message.added.append(_stored_form(status))
        message.merged = max(message.merged, merged(status.status, status.error_code))
    _write(connection, found.values())
    applied.failures = [
        Failure(key[0], message.conversation_id, message.merged.error_code, message.occurred_at)
        for key, message in found.items()
        if message.merged != message.before and message.merged.status == MessageStatus.FAILED
    ]
    return applied


def _messages(connection: Connection, keys: Iterable[Key]) -> dict[Key, _Message]:
    """Locks and returns our messages by number and wamid. All callers lock in the same order, to avoid deadlocks."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    rows = connection.execute(
        text("""
            SELECT message.number_id, message.wamid, message.id, message.conversation_id, message.outbox_id,
                message.traceparent, extract(epoch FROM message.occurred_at), message.status_rank, message.error_code
            FROM unnest(CAST(:numbers AS text[]), CAST(:wamids AS text[])) AS wanted(number_id, wamid)
            JOIN message ON message.number_id = wanted.number_id AND message.wamid = wanted.wamid
            WHERE message.direction = 'out'
            ORDER BY message.id
            FOR UPDATE OF message
        """),
        {"numbers": [number for number, _ in wanted], "wamids": [wamid for _, wamid in wanted]},
    )
    found: dict[Key, _Message] = {}
    for number_id, wamid, id_, conversation_id, outbox_id, traceparent, occurred_at, rank, code in rows:
        before = MergedStatus(rank, code or 0)
        found[number_id, wamid] = _Message(
            id_, conversation_id, outbox_id, traceparent, float(occurred_at), before, before
        )
    return found


def _settle(connection: Connection, statuses: Iterable[InboundStatus]) -> list[tuple[Key, int]]:
    """Marks outbox rows as sent if these statuses prove that they went out, and stores the rows as messages.

    Returns the number id, the wamid and the conversation of each row. A status settles only rows of its own
    number, because one number must not decide about the rows of another number.
    """
    proofs: dict[str, Key] = {}
    for status in statuses:
        data = status.callback_data or ""
        correlation = data.removeprefix(CALLBACK_PREFIX)
        if correlation != data and _is_uuid(correlation):
            proofs.setdefault(correlation, (status.number_id, status.wamid))
    if not proofs:
        return []
    rows = connection.execute(
        text("""
            WITH proven AS (
                SELECT outbox.id, proof.wamid, outbox.state AS before
                FROM unnest(CAST(:correlations AS uuid[]), CAST(:numbers AS text[]), CAST(:wamids AS text[]))
                    AS proof(correlation, number_id, wamid)
                JOIN outbox ON outbox.correlation = proof.correlation AND outbox.number_id = proof.number_id
                WHERE outbox.wamid IS NULL OR outbox.wamid = proof.wamid
                ORDER BY outbox.id
                FOR UPDATE OF outbox
            )
            UPDATE outbox SET wamid = proven.wamid, state = 'sent', error_code = NULL, reason = NULL,
                claimed_by = NULL, claim_expires_at = NULL,
                finished_at = coalesce(outbox.finished_at, clock_timestamp())
            FROM proven WHERE outbox.id = proven.id
            RETURNING outbox.id, outbox.number_id, outbox.wamid, outbox.conversation_id, outbox.body
        """),
        {
            "correlations": list(proofs),
            "numbers": [number_id for number_id, _ in proofs.values()],
            "wamids": [wamid for _, wamid in proofs.values()],
        },
    ).all()
    outbox.add_sent_messages(connection, {row.id: row.body for row in rows})
    return [((row.number_id, row.wamid), row.conversation_id) for row in rows]


def _is_uuid(value: str) -> bool:
    return len(value) == 36 and all(
        letter == "-" if position in (8, 13, 18, 23) else letter in "0123456789abcdefABCDEF"
        for position, letter in enumerate(value)
    )


def _stored_form(status: InboundStatus) -> dict[str, Any]:
    """Returns one status as it is stored. The recipient is left out, because the conversation already has it."""
    fields = {
        "status": status.status,
        "at": status.occurred_at,
        "code": status.error_code,
        "title": status.error_title,
        "category": status.pricing_category,
        "billable": status.billable,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _write(connection: Connection, messages: Iterable[_Message]) -> None:
    touched = [message for message in messages if message.added]
    if not touched:
        return
    connection.execute(
        text("""
            UPDATE message SET statuses = message.statuses || CAST(new.added AS jsonb), status = new.status,
                status_rank = new.rank, error_code = new.code
            FROM unnest(CAST(:ids AS bigint[]), CAST(:added AS text[]), CAST(:statuses AS text[]),
                CAST(:ranks AS smallint[]), CAST(:codes AS int[])) AS new(id, added, status, rank, code)
            WHERE message.id = new.id
        """),
        {
            "ids": [message.id for message in touched],
            "added": [msgspec.json.encode(message.added).decode() for message in touched],
            "statuses": [message.merged.status for message in touched],
            "ranks": [message.merged.rank for message in touched],
            "codes": [message.merged.error_code or None for message in touched],
        },
    )
    # A row becomes `failed` with its message, and `sent` again when a late `delivered` shows that it had arrived.
    turned = [
        message
        for message in touched
        if message.outbox_id is not None
        and (message.merged.status == MessageStatus.FAILED) != (message.before.status == MessageStatus.FAILED)
    ]
    if turned:
        connection.execute(
            text("""
                UPDATE outbox SET state = CASE WHEN new.failed THEN 'failed' ELSE 'sent' END, error_code = new.code,
                    reason = CASE WHEN new.failed THEN :reason END
                FROM unnest(CAST(:ids AS bigint[]), CAST(:failed AS boolean[]), CAST(:codes AS int[]))
                    AS new(id, failed, code)
                WHERE outbox.id = new.id
            """),
            {
                "ids": [message.outbox_id for message in turned],
                "reason": SendReason.FAILED_AT_META,
                "failed": [message.merged.status == MessageStatus.FAILED for message in turned],
                "codes": [message.merged.error_code or None for message in turned],
            },
        )
