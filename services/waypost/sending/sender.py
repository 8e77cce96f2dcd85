"""The sender of one process: takes due rows from the outbox, asks gate and limits, calls Graph, writes what came of it.

    wake ─▶ heads ─▶ gate ─▶ limits ─▶ claim (gate again, under lock; commit) ─▶ Graph call ─▶ end (commit) ─▶ next row

Everything between the arrows works on whatever has gathered meanwhile, so that under load a transaction serves many
rows. Only one row of a conversation is in flight; conversations overlap. Nothing is kept here that the database does
not know: a killed sender's claims run out and its rows become `unknown`, and rows whose wake-up was lost are swept up.
"""

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts.registry import Number
from waypost.sending import gate
from waypost.sending.calls import Caller
from waypost.sending.choice import choose
from waypost.sending.circuit import Circuit
from waypost.sending.claims import LEASE_S, ClaimBook, Claimed, Ended
from waypost.sending.limits import Grant, RateLimits, Wish
from waypost.sending.lines import Lines
from waypost.sending.pace import Pace
from waypost.sending.wakes import Wakes
from waypost.store.connection.outage import DatabaseOutage
from waypost.store.outbox import Head
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)

BATCH = 256
"""Rows of one transaction: large enough to make a commit cheap, small enough that none waits long for it."""

SWEPT = 500
"""Due conversations of a number that a sweep brings in; more are fetched when these are nearly through."""

PATIENCE_S = 1.0
"""Between tries while the database is away."""

LAST_TRIES = 5
"""Tries of a stopping sender to write its last answers; what is not written becomes `unknown` as its claim runs out."""

Result = TypeVar("Result")


class Sender:
    """Sends what is due until it is stopped. `run` belongs to one event loop; `wake` and `stop` to any thread.

    `numbers` tells what the registry knows of a number, now; `owner` must differ between any two senders, dead ones
    included. `concurrency` bounds the calls in flight. `sweep_interval_s`, in seconds, must stay well below the
    life of a claim.
    """

    def __init__(
        self,
        engine: Engine,
        graph: GraphClient,
        limits: RateLimits,
        numbers: Callable[[str], Number | None],
        *,
        owner: str,
        concurrency: int,
        sweep_interval_s: float = 2.0,
        call_deadline_s: float = 40.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._book = ClaimBook(engine, numbers, owner)
        self._caller = Caller(graph, numbers, deadline_s=call_deadline_s, draw=draw)
        self._limits = limits
        self._numbers = numbers
        self._sweep_interval_s = min(sweep_interval_s, LEASE_S / 4)
        self._draw = draw
        self._lines = Lines(concurrency)
        self._circuits: dict[str, Circuit] = {}
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._wakes = Wakes()
        self._outage = DatabaseOutage(__name__, began="database is away; rows and answers wait", ended="rows go on")
        self._claims: dict[int, Claimed] = {}
        self._renewed_at = 0.0
        self._ended: list[Ended] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._more_due = False
        self._stopping = False
        self._finished = False
        self._answers = asyncio.Event()
        self._sweep_now = asyncio.Event()
        self._before_run: list[int] = []
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        # One thread each, so that neither waits behind the other: the database by its order, Redis by its time-outs.
        self._database_thread = ThreadPoolExecutor(1, "sender-database")
        self._limits_thread = ThreadPoolExecutor(1, "sender-limits")
        self._heartbeat_thread = ThreadPoolExecutor(1, "sender-heartbeat")

    def wake(self, conversation_ids: Iterable[int]) -> None:
        """Rows of these conversations were committed. Never blocks; before `run` and after its end it is remembered
        or ignored, for the sweeper finds them anyway."""
        ids = list(conversation_ids)
        with self._lock:
            if self._loop is None:
                self._before_run += ids
            elif not self._finished:
                self._loop.call_soon_threadsafe(self._wakes.wake, ids)

    def charge(self, incoming: Mapping[str, int]) -> None:
        """So many messages came in for these numbers: they use the same limits. Never blocks."""
        with self._lock:
            if self._loop is not None and not self._finished:
                for number_id, count in incoming.items():
                    self._limits_thread.submit(self._limits.charge, number_id, self._per_second(number_id), count)

    def stop(self) -> None:
        """Claim nothing more; `run` returns once the calls in flight have ended and are written down."""
        with self._lock:
            if self._loop is None:
                self._stopping = True
            elif not self._finished:
                self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._stopping = True
        self._wakes.work.set()
        self._sweep_now.set()

    async def run(self) -> None:
        """Send until `stop`. A database or Redis that is away is waited for; any other error ends the sender."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._wakes.wake(self._before_run)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep_until_stopped())
                group.create_task(self._write_answers())
                await self._pump()
                if self._calls:
                    await asyncio.wait(self._calls)
                self._finished = True
                self._answers.set()
                self._sweep_now.set()
            await self._in(self._heartbeat_thread, self._limits.leave)
        finally:
            with self._lock:
                self._finished = True
            self._wakes.close()
            for thread in (self._database_thread, self._limits_thread, self._heartbeat_thread):
                thread.shutdown(wait=False, cancel_futures=True)

    # -- taking up work

    async def _pump(self) -> None:
        while not self._stopping:
            batch = self._next_batch()
            if not batch:
                await self._until_work()
                continue
            try:
                await self._advance(batch)
            except SQLAlchemyError as error:
                self._outage.failed(error)
                for conversation_id in batch:
                    self._wakes.wake_later(conversation_id, PATIENCE_S)

    def _next_batch(self) -> list[int]:
        assert self._loop is not None
        batch = self._lines.release(self._loop.time(), self._per_second)
        batch += self._wakes.take(BATCH - len(batch))
        batch = list(dict.fromkeys(batch))
        if self._more_due and len(self._wakes) + len(self._lines) < SWEPT // 2:
            self._more_due = False
            self._sweep_now.set()
        return batch

    async def _until_work(self) -> None:
        assert self._loop is not None
        self._wakes.work.clear()
        moment = self._lines.next_release()
        timeout = None if moment is None else max(0.0, moment - self._loop.time())
        try:
            async with asyncio.timeout(timeout):
                await self._wakes.work.wait()
        except TimeoutError:
            return

    def _per_second(self, number_id: str) -> float:
        number = self._numbers(number_id)
        return 1.0 if number is None else float(number.messages_per_second)

    async def _advance(self, conversation_ids: Sequence[int]) -> None:
        """Bring the next row of each conversation as far as it may go now."""
        assert self._loop is not None
        heads = await self._in(self._database_thread, self._book.heads, conversation_ids)
        choice = choose(heads, self._numbers, self._lines, self._circuits, now=self._loop.time())
        for conversation_id, delay_s in choice.later:
            self._wakes.wake_later(conversation_id, delay_s)
        slots = await self._ask_limits(choice.wishing) if choice.wishing else {}
        granted, refused = [*choice.granted, *slots], choice.refused
        if not granted and not refused:
            return
        asked_at = self._loop.time()
        claims = await self._in(self._database_thread, self._book.claim, granted, refused)
        for head, reason in claims.refused:
            log.info("not sent", outbox_id=head.outbox_id, number=head.number_id, reason=reason)
            metrics.sends_total.labels(head.number_id, "refused").inc()
            self._wakes.wake([head.conversation_id])
        for claimed in claims.claimed:
            self._start(claimed, asked_at, slots.get(claimed.head.outbox_id, 0.0))

    async def _ask_limits(self, heads: Sequence[Head]) -> dict[int, float]:
        """The rows that the limits let through, each with the moment at which it may go out."""
        assert self._loop is not None
        wishes = [
            Wish(head.number_id, self._per_second(head.number_id), head.conversation_id, head.priority >= gate.BULK)
            for head in heads
        ]
        grants: list[Grant] = await self._in(self._limits_thread, self._limits.take, wishes)
        now = self._loop.time()
        slots: dict[int, float] = {}
        for head, grant in reversed(list(zip(heads, grants, strict=True))):  # for each goes to the front of its line
            if grant.busy is None:
                slots[head.outbox_id] = now + grant.wait_s
            elif grant.busy == "pair":
                self._wakes.wake_later(head.conversation_id, grant.wait_s)
            else:
                self._lines.park(head.number_id, head.conversation_id, bulk=head.priority >= gate.BULK, first=True)
                self._lines.busy_until(head.number_id, now + grant.wait_s)
        return slots

    # -- calls in flight

    def _start(self, claimed: Claimed, asked_at: float, slot: float) -> None:
        head = claimed.head
        self._wakes.started(head.conversation_id)
        self._lines.unpark(head.conversation_id)
        self._claims[head.outbox_id] = claimed
        self._lines.started(head.number_id)
        call = asyncio.create_task(self._call(claimed, asked_at, slot))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, claimed: Claimed, asked_at: float, slot: float) -> None:
        assert self._loop is not None
        ended = self._caller.interrupted(claimed)
        try:
            await asyncio.sleep(max(0.0, slot - self._loop.time()))
            if claimed.head.kind != "read":
                await self._paces[claimed.head.number_id].turn(self._per_second(claimed.head.number_id))
            if self._loop.time() - max(asked_at, self._renewed_at) > LEASE_S / 2:
                # This process stood still; others may have given the row up, and rows behind it may be out already.
                ended = self._caller.not_made(claimed)
            else:
                ended = await self._caller.call(claimed)
        finally:
            self._ended.append(ended)
            self._lines.ended(claimed.head.number_id)
            self._answers.set()
            self._wakes.work.set()

    async def _write_answers(self) -> None:
        tries = 0
        while not (self._finished and not self._ended):
            if not self._ended:
                self._answers.clear()
                await self._answers.wait()
            ended, self._ended = self._ended[:BATCH], self._ended[BATCH:]
            if not ended:
                continue
            self._learn(ended)
            try:
                written = await self._in(self._database_thread, self._book.end, ended)
            except SQLAlchemyError as error:
                self._outage.failed(error)
                self._ended = ended + self._ended
                tries += self._finished
                if tries > LAST_TRIES:
                    return
                await asyncio.sleep(PATIENCE_S)
                continue
            for one in ended:
                self._close(one, more=written.get(one.head.outbox_id, False))
            if any(one.outcome.slow_down for one in ended):
                await self._slow_down({one.head.number_id for one in ended if one.outcome.slow_down})

    def _learn(self, ended: Iterable[Ended]) -> None:
        """Open or close the circuits of numbers."""
        assert self._loop is not None
        for one in ended:
            number_id = one.head.number_id
            if one.outcome.graph_answered:
                circuit = self._circuits.pop(number_id, None)
                if circuit is not None and circuit.is_open:
                    self._lines.busy_until(number_id, 0.0)
                    self._wakes.work.set()
            elif one.outcome.graph_answered is False:
                circuit = self._circuits.setdefault(
                    number_id, Circuit(threshold=5, first_s=1.0, cap_s=30.0, draw=self._draw)
                )
                circuit.failed(self._loop.time())

    def _close(self, one: Ended, *, more: bool) -> None:
        """A row is written down: go on with its conversation."""
        head, ending = one.head, one.outcome.ending
        metrics.sends_total.labels(head.number_id, one.outcome.result).inc()
        if ending.state in ("failed", "unknown") or one.outcome.pause_number_s:
            log.warning(
                "message not sent" if ending.state != "unknown" else "outcome of a send is unknown",
                outbox_id=head.outbox_id,
                number=head.number_id,
                result=one.outcome.result,
                code=ending.code,
                reason=ending.reason,
            )
        self._claims.pop(head.outbox_id, None)
        woken_meanwhile = self._wakes.ended(head.conversation_id)
        if ending.state == "queued":
            if not one.outcome.pause_number_s:
                self._wakes.wake_later(head.conversation_id, max(ending.delay_s, one.outcome.pause_pair_s))
        elif more or woken_meanwhile:
            self._wakes.wake([head.conversation_id])
        if one.probe and one.outcome.number_works:
            self._sweep_now.set()

    async def _slow_down(self, number_ids: Iterable[str]) -> None:
        for number_id in number_ids:
            await self._in(self._limits_thread, self._limits.slow_down, number_id, self._per_second(number_id))

    # -- sweeping

    async def _sweep_until_stopped(self) -> None:
        beat: asyncio.Future[None] | None = None
        while not self._finished:
            if beat is None or beat.done():
                beat = self._in(self._heartbeat_thread, self._limits.heartbeat)
            await self._sweep()
            try:
                async with asyncio.timeout(self._sweep_interval_s):
                    await self._sweep_now.wait()
            except TimeoutError:
                pass
            self._sweep_now.clear()

    async def _sweep(self) -> None:
        # However many are parked: rows of another number, whose wake-up was lost, must not wait for all of these.
        wanted = 0 if self._stopping else SWEPT
        assert self._loop is not None
        began = self._loop.time()
        try:
            swept = await self._in(self._database_thread, self._book.sweep, list(self._claims), wanted)
        except SQLAlchemyError as error:
            self._outage.failed(error)
            return
        self._outage.answered()
        self._renewed_at = began
        if swept.expired:
            log.warning("rows of a sender that died are unknown now", rows=len(swept.expired))
        for number_id in swept.resumed:
            log.info("number has another token; its messages go on", number=number_id)
        if swept.resumed:
            self._sweep_now.set()
        self._more_due = wanted > 0 and len(swept.due) >= wanted
        self._wakes.wake(swept.expired)
        self._wakes.wake(conversation_id for conversation_id in swept.due if conversation_id not in self._lines)

    def _in(
        self, thread: ThreadPoolExecutor, function: Callable[..., Result], *given: object
    ) -> asyncio.Future[Result]:
        assert self._loop is not None
        return self._loop.run_in_executor(thread, function, *given)
