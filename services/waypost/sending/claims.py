"""The sender's transactions: claim rows under the gate, write how calls ended, sweep. Each is one short transaction."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from waypost.contracts.registry import Number, Template
from waypost.sending import gate, outcome
from waypost.sending.outcome import Outcome
from waypost.store import numbers as stored_numbers
from waypost.store import outbox, pauses
from waypost.store.outbox import Head

LEASE_S = 15.0
"""A claim lives this long without being renewed; its conversation waits that long when its process dies."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that this process must now send."""

    head: Head
    probe: bool
    """It tries whether a paused number works again."""


@dataclass(slots=True)
class Claims:
    """What became of the rows that were asked for."""

    claimed: list[Claimed] = field(default_factory=list)
    refused: list[tuple[Head, str]] = field(default_factory=list)

    def add(self, other: "Claims") -> None:
        """Take in the claims of another transaction."""
        self.claimed += other.claimed
        self.refused += other.refused


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that has its answer."""

    head: Head
    outcome: Outcome
    probe: bool
    token_digest: str | None
    """Of the token that the call was made with; with its proof, if that was refused."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found."""

    expired: list[int]
    """Conversations of rows whose process had died."""
    resumed: list[str]
    """Numbers that have other credentials than those that met the pause."""
    due: list[int]
    """Conversations with a due row that nobody is at."""


class ClaimBook:
    """The sender's side of the outbox. Used from one thread; raises SQLAlchemy's errors when the database is away."""

    def __init__(self, engine: Engine, numbers: Callable[[str], Number | None], owner: str) -> None:
        self._engine = engine
        self._numbers = numbers
        self._owner = owner
        self._doubtful: set[int] = set()
        """Rows of claims that failed: if the commit was done all the same, nobody would send them."""
        self._steady = False
        """Whether the last sweep went through. After an outage every living sender first renews its claims."""

    def heads(self, conversation_ids: Sequence[int]) -> list[Head]:
        """The next row of each conversation."""
        with self._engine.connect() as connection:
            return outbox.heads(connection, conversation_ids)

    def claim(self, granted: Sequence[int], refused: Sequence[int]) -> Claims:
        """Claim rows that the limits let through, and fail those the gate refuses. The gate decides anew, under lock.

        Of rows that cannot be claimed together, because another process has just started a row of the same
        conversation, the others are claimed all the same.
        """
        try:
            return self._claim(granted, refused)
        except (IntegrityError, DataError):
            claims = Claims()
            for outbox_id in [*granted, *refused]:
                try:
                    claims.add(self._claim([outbox_id] if outbox_id in granted else [], [outbox_id]))
                except (IntegrityError, DataError):
                    continue  # it stays queued, and the sweeper comes back to it
                except SQLAlchemyError:
                    # The caller hears of the error only, and will not send what was claimed before it.
                    self._doubtful.update(claimed.head.outbox_id for claimed in claims.claimed)
                    raise
            return claims

    def _claim(self, granted: Sequence[int], refused: Sequence[int]) -> Claims:
        claims = Claims()
        bodies: dict[int, dict[str, object] | None] = {}
        try:
            with self._engine.begin() as connection:
                for head in outbox.lock(connection, [*granted, *refused]):
                    self._decide(connection, head, set(granted), claims, bodies)
                outbox.refuse(connection, {head.outbox_id: reason for head, reason in claims.refused})
                outbox.start(connection, self._owner, LEASE_S, bodies)
        except SQLAlchemyError:
            self._doubtful.update(bodies)
            raise
        self._doubtful.difference_update(bodies)
        return claims

    def _decide(
        self,
        connection: Connection,
        head: Head,
        granted: Container[int],
        claims: Claims,
        bodies: dict[int, dict[str, object] | None],
    ) -> None:
        decision = gate.decide(head, self._numbers(head.number_id))
        template: Template | None = None
        match decision:
            case gate.Refuse(reason):
                claims.refused.append((head, reason))
                return
            case gate.Wait():
                return
            case gate.Send():
                template = decision.template
        if head.outbox_id not in granted:
            return
        probe = isinstance(decision, gate.Probe)
        if probe and not pauses.claim_probe(connection, head.number_id, seconds=outcome.PAUSE_S):
            return
        body = bodies[head.outbox_id] = None if template is None else gate.template_body(template)
        claims.claimed.append(Claimed(head if body is None else replace(head, body=body), probe))

    def end(self, ended: Sequence[Ended]) -> dict[int, bool]:
        """Write how calls ended; returns the rows that took it, each with whether more is queued behind it."""
        try:
            return self._end(ended)
        except (IntegrityError, DataError):
            if len(ended) == 1:
                return {}  # its claim runs out, and the row becomes `unknown`
            written: dict[int, bool] = {}
            for one in ended:
                written |= self.end([one])
            return written

    def _end(self, ended: Sequence[Ended]) -> dict[int, bool]:
        with self._engine.begin() as connection:
            written = outbox.end(connection, self._owner, [one.outcome.ending for one in ended])
            outbox.add_sent_messages(
                connection,
                {
                    one.head.outbox_id: one.head.body
                    for one in ended
                    if one.head.outbox_id in written and one.outcome.ending.wamid is not None
                },
            )
            self._note_pauses(connection, ended)
            for one in ended:
                if one.outcome.pause_pair_s:
                    pauses.pause_pair(connection, one.head.conversation_id, seconds=one.outcome.pause_pair_s)
                if one.outcome.close_window:
                    pauses.close_window(connection, one.head.conversation_id, sent_at=one.head.now.timestamp())
            stopped = [one.head.conversation_id for one in ended if one.outcome.stop_marketing]
            if stopped:
                pauses.stop_marketing(connection, stopped)
        return written

    def _note_pauses(self, connection: Connection, ended: Iterable[Ended]) -> None:
        paused = {one.head.number_id: one for one in ended if one.outcome.pause_number_s}
        for number_id, one in paused.items():
            number = self._numbers(number_id)
            if number is not None:
                stored_numbers.remember(connection, [(number_id, number.namespace, number.name, number.waba_id)])
            pauses.pause_number(
                connection,
                number_id,
                seconds=one.outcome.pause_number_s,
                code=one.outcome.pause_code,
                reason=one.outcome.pause_reason,
                token_digest=one.token_digest,
            )
        for number_id in {one.head.number_id for one in ended if one.probe and one.outcome.number_works}:
            pauses.resume_number(connection, number_id)

    def sweep(self, in_flight: Sequence[int], limit: int) -> Swept:
        """Renew our claims, settle those of dead processes, end pauses of renewed credentials, find what is due.

        `limit` bounds the due conversations of each number; 0 asks for none.
        """
        steady, self._steady = self._steady, False
        with self._engine.begin() as connection:
            outbox.renew(connection, self._owner, LEASE_S, in_flight)
            outbox.give_back(connection, self._owner, list(self._doubtful))
            expired = outbox.expire(connection) if steady else []
            resumed = []
            for paused in pauses.paused_numbers(connection):
                number = self._numbers(paused.number_id)
                if number is not None and gate.has_new_credentials(number, paused.token_digest):
                    pauses.resume_number(connection, paused.number_id)
                    resumed.append(paused.number_id)
            due = outbox.due_conversations(connection, limit) if limit else []
        self._doubtful.clear()
        self._steady = True
        return Swept(expired, resumed, due)
