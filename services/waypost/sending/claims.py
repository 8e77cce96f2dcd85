"""The transactions of the sender. Each transaction is short.

They claim rows that the gate allows, write the results of calls, and sweep.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from waypost.contracts.registry import Number, Template
from waypost.sending import gate, outcome
from waypost.sending.outcome import Outcome
from waypost.store import numbers as stored_numbers
from waypost.store import outbox, pauses
from waypost.store.outbox import OutboxRow

LEASE_S = 15.0
"""Seconds that a claim lives without renewal; the conversation waits that long if the claiming process dies."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that this process must now send."""

    row: OutboxRow
    probe: bool
    """Whether sending this row tests if a paused number works again."""


@dataclass(slots=True)
class ClaimResult:
    """The rows that `claim` claimed or refused. Every other row stays as it was."""

    claimed: list[Claimed] = field(default_factory=list)
    refused: list[tuple[OutboxRow, str]] = field(default_factory=list)

    def add(self, other: "ClaimResult") -> None:
        """Adds the rows of another transaction's result."""
        self.claimed += other.claimed
        self.refused += other.refused


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A Graph call that has ended, with its outcome."""

    row: OutboxRow
    outcome: Outcome
    probe: bool
    token_digest: str | None
    """Digest of the token that the call was made with, or of token and proof if Meta refused the proof."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The results of a sweep."""

    expired: list[int]
    """Conversations of rows that were claimed by a process which has died."""
    resumed: list[str]
    """Numbers whose pause ended because their credentials have changed."""
    due: list[int]
    """Conversations with a due row that no process has claimed."""


class SenderTransactions:
    """Runs the transactions of one sender on the outbox.

    It must be used from one thread only. Raises SQLAlchemy's errors when the database is away.
    """

    def __init__(self, engine: Engine, numbers: Callable[[str], Number | None], owner: str) -> None:
        self._engine = engine
        self._numbers = numbers
        self._owner = owner
        self._uncertain: set[int] = set()
        """Ids of rows whose claim raised an error. Its commit may have worked; then no process would send them."""
        self._last_sweep_worked = False
        """False after a start or an outage, when live senders may not have renewed their claims yet."""

    def next_rows(self, conversation_ids: Sequence[int]) -> list[OutboxRow]:
        """Returns the next row of each conversation."""
        with self._engine.connect() as connection:
            return outbox.next_rows(connection, conversation_ids)

    def claim(self, allowed: Sequence[int], refused: Sequence[int]) -> ClaimResult:
        """Claims the rows in `allowed`, which the limits allow. For each row the gate decides again, under a lock.

        Rows that the gate refuses are marked as failed. The rows cannot be claimed together if another process has
        just started a row of one of the conversations. In that case they are claimed one by one.
        """
        try:
            return self._claim(allowed, refused)
        except (IntegrityError, DataError):
            result = ClaimResult()
            for outbox_id in [*allowed, *refused]:
                try:
                    result.add(self._claim([outbox_id] if outbox_id in allowed else [], [outbox_id]))
                except (IntegrityError, DataError):
                    continue  # it stays queued, and a sweep comes back to it
                except SQLAlchemyError:
                    # The caller sees the error only, and will not send what was claimed before it.
                    self._uncertain.update(claimed.row.outbox_id for claimed in result.claimed)
                    raise
            return result

    def _claim(self, allowed: Sequence[int], refused: Sequence[int]) -> ClaimResult:
        result = ClaimResult()
        bodies: dict[int, dict[str, object] | None] = {}
        try:
            with self._engine.begin() as connection:
                for row in outbox.lock(connection, [*allowed, *refused]):
                    self._decide(connection, row, set(allowed), result, bodies)
                outbox.refuse(connection, {row.outbox_id: reason for row, reason in result.refused})
                outbox.mark_sending(connection, self._owner, LEASE_S, bodies)
        except SQLAlchemyError:
            self._uncertain.update(bodies)
            raise
        self._uncertain.difference_update(bodies)
        return result

    def _decide(
        self,
        connection: Connection,
        row: OutboxRow,
        allowed: Container[int],
        result: ClaimResult,
        bodies: dict[int, dict[str, object] | None],
    ) -> None:
        decision = gate.decide(row, self._numbers(row.number_id))
        template: Template | None = None
        match decision:
            case gate.Refuse(reason):
                result.refused.append((row, reason))
                return
            case gate.Wait():
                return
            case gate.Send():
                template = decision.template
        if row.outbox_id not in allowed:
            # The gate refused this row before and allows it now. It has not asked the limits, so it stays queued.
            return
        probe = isinstance(decision, gate.Probe)
        if probe and not pauses.claim_probe(connection, row.number_id, seconds=outcome.PAUSE_S):
            return
        body = bodies[row.outbox_id] = None if template is None else gate.template_body(template)
        result.claimed.append(Claimed(row if body is None else replace(row, body=body), probe))

    def finish(self, calls: Sequence[FinishedCall]) -> dict[int, bool]:
        """Writes the results of calls. Returns for each written row whether more rows of its conversation wait."""
        try:
            return self._finish(calls)
        except (IntegrityError, DataError):
            if len(calls) == 1:
                return {}  # its claim runs out, and the row becomes `unknown`
            written: dict[int, bool] = {}
            for call in calls:
                written |= self.finish([call])
            return written

    def _finish(self, calls: Sequence[FinishedCall]) -> dict[int, bool]:
        with self._engine.begin() as connection:
            written = outbox.finish(connection, self._owner, [call.outcome.update for call in calls])
            outbox.add_sent_messages(
                connection,
                {
                    call.row.outbox_id: call.row.body
                    for call in calls
                    if call.row.outbox_id in written and call.outcome.update.wamid is not None
                },
            )
            self._write_pauses(connection, calls)
            for call in calls:
                if call.outcome.pause_pair_s:
                    pauses.pause_pair(connection, call.row.conversation_id, seconds=call.outcome.pause_pair_s)
                if call.outcome.close_window:
                    pauses.close_window(connection, call.row.conversation_id, sent_at=call.row.now.timestamp())
            stopped = [call.row.conversation_id for call in calls if call.outcome.stop_marketing]
            if stopped:
                pauses.stop_marketing(connection, stopped)
        return written

    def _write_pauses(self, connection: Connection, calls: Iterable[FinishedCall]) -> None:
        paused = {call.row.number_id: call for call in calls if call.outcome.pause_number_s}
        for number_id, call in paused.items():
            number = self._numbers(number_id)
            if number is not None:
                stored_numbers.record(
                    connection,
                    [(number_id, number.namespace, number.name, number.waba_id)],
                    hosted=[number_id] if number.bot_plugin is not None else (),
                )
            pauses.pause_number(
                connection,
                number_id,
                seconds=call.outcome.pause_number_s,
                code=call.outcome.pause_code,
                reason=call.outcome.pause_reason,
                token_digest=call.token_digest,
            )
        for number_id in {call.row.number_id for call in calls if call.probe and call.outcome.number_works}:
            pauses.resume_number(connection, number_id)

    def sweep(self, in_flight: Sequence[int], limit: int) -> SweepResult:
        """Performs one sweep in a single transaction.

        It renews our claims, expires the claims of dead processes, ends the pauses of numbers with changed
        credentials, and finds due rows. `limit` is the maximum number of due conversations to return per number. If
        `limit` is 0, no due conversation is returned.
        """
        others_have_renewed, self._last_sweep_worked = self._last_sweep_worked, False
        with self._engine.begin() as connection:
            outbox.renew(connection, self._owner, LEASE_S, in_flight)
            outbox.give_back(connection, self._owner, list(self._uncertain))
            expired = outbox.expire_claims(connection) if others_have_renewed else []
            resumed = []
            for paused in pauses.paused_numbers(connection):
                number = self._numbers(paused.number_id)
                if number is not None and gate.has_new_credentials(number, paused.token_digest):
                    pauses.resume_number(connection, paused.number_id)
                    resumed.append(paused.number_id)
            due = outbox.due_conversations(connection, limit) if limit else []
        self._uncertain.clear()
        self._last_sweep_worked = True
        return SweepResult(expired, resumed, due)
