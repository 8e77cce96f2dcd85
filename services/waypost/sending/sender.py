"""The sender of one process. It sends the due rows of the outbox.

For each row the sender asks the gate and the limits, calls Graph, and writes the outcome:

    wake ─▶ rows ─▶ gate ─▶ limits ─▶ claim (gate again, under lock; commit) ─▶ Graph call ─▶ finish (commit) ─▶ next

Each step takes all the rows that have arrived since its last run. Under load one transaction therefore serves
many rows. Each conversation has at most one row in flight, but rows of several conversations are in flight at
the same time. This process holds no state that the database does not have. If a sender is killed, its claims
expire and its rows become `unknown`. If a wake-up is lost, a sweep finds the rows.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts.registry import Number
from waypost.contracts.states import OutboxKind, OutboxState, Priority
from waypost.sending.admission import admit
from waypost.sending.calls import GraphCaller
from waypost.sending.circuit import Circuit
from waypost.sending.claims import LEASE_S, Claimed, FinishedCall, SenderTransactions
from waypost.sending.limits import BusyLimit, RateLimits
from waypost.sending.number_queues import NumberQueues
from waypost.sending.outcome import SendResult
from waypost.sending.starts import Starts
from waypost.sending.wakes import Wakes
from waypost.store.connection.outage import DatabaseOutage
from waypost.store.outbox import OutboxRow
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)

BATCH = 256
"""Most rows of one transaction: enough to make a commit cheap, few enough that no row waits long for it."""

SWEEP_LIMIT = 500
"""Most due conversations of a number that one sweep finds; another sweep follows when these are nearly done."""

DATABASE_RETRY_S = 1.0
"""Delay between attempts while the database is unreachable."""

FINAL_WRITE_ATTEMPTS = 5
"""Number of attempts of a stopping sender to write its last results.

If a result is not written, its row becomes `unknown` when the row's claim expires.
"""

Result = TypeVar("Result")


class Sender:
    """Sends due rows until it is stopped. Call `run` in one event loop.

    `wake` and `stop` may be called from any thread. `numbers` returns the registry's current entry of a number.
    `owner` must differ between any two senders, including dead ones. `concurrency` is the maximum number of calls
    in flight. `sweep_interval_s`, in seconds, must stay well below the lifetime of a claim.
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
        self._transactions = SenderTransactions(engine, numbers, owner)
        self._caller = GraphCaller(graph, numbers, deadline_s=call_deadline_s, draw=draw)
        self._numbers = numbers
        self._sweep_interval_s = min(sweep_interval_s, LEASE_S / 4)
        self._draw = draw
        self._queues = NumberQueues(concurrency)
        self._circuits: dict[str, Circuit] = {}
        self._wakes = Wakes()
        self._outage = DatabaseOutage(
            __name__, began="database is away; rows and answers wait", ended="rows are sent again"
        )
        self._starts = Starts(limits, self._per_second, self._outage)
        self._claims: dict[int, Claimed] = {}
        self._renewed_at = 0.0
        self._finished_calls: list[FinishedCall] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._more_due = False
        self._stopping = False
        self._finished = False
        self._answers = asyncio.Event()
        self._sweep_now = asyncio.Event()
        self._before_run: list[int] = []
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        # One thread, so that transactions stay in order.
        self._database_thread = ThreadPoolExecutor(1, "sender-database")

    def wake(self, conversation_ids: Iterable[int]) -> None:
        """Makes the sender look at these conversations, because rows were committed for them. Never blocks.

        If `run` has not begun yet, the conversations are remembered. After `run` has ended, the conversations are
        ignored, and a sweep finds their rows.
        """
        ids = list(conversation_ids)
        with self._lock:
            if self._loop is None:
                self._before_run += ids
            elif not self._finished:
                self._loop.call_soon_threadsafe(self._wakes.wake, ids)

    def charge(self, incoming: Mapping[str, int]) -> None:
        """Counts incoming messages of these numbers, because they use the same limits. Never blocks."""
        with self._lock:
            if self._loop is not None and not self._finished:
                self._starts.charge(incoming, self._loop)

    def stop(self) -> None:
        """Makes the sender claim no more rows. `run` returns when the calls in flight have ended and are recorded."""
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
        """Sends until `stop` is called.

        If the database is away, the sender waits until it is back. Any other error ends `run`.
        """
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._wakes.wake(self._before_run)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep_until_stopped())
                group.create_task(self._write_answers())
                counting = group.create_task(self._starts.count_incoming())
                await self._send_until_stopped()
                if self._calls:
                    await asyncio.wait(self._calls)
                self._finished = True
                self._answers.set()
                self._sweep_now.set()
                counting.cancel()
        finally:
            with self._lock:
                self._finished = True
            self._wakes.close()
            self._starts.close()
            self._database_thread.shutdown(wait=False, cancel_futures=True)

    # -- taking up work

    async def _send_until_stopped(self) -> None:
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
                    self._wakes.wake_later(conversation_id, DATABASE_RETRY_S)

    def _next_batch(self) -> list[int]:
        assert self._loop is not None
        batch = self._queues.release(self._loop.time(), self._per_second)
        batch += self._wakes.take(BATCH - len(batch))
        batch = list(dict.fromkeys(batch))  # a conversation may be released and woken at once
        if self._more_due and len(self._wakes) + len(self._queues) < SWEEP_LIMIT // 2:
            self._more_due = False
            self._sweep_now.set()
        return batch

    async def _until_work(self) -> None:
        assert self._loop is not None
        self._wakes.work.clear()
        moment = self._queues.next_release()
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
        """Advances the next row of each conversation as far as possible now, through gate, limits, claim and call."""
        assert self._loop is not None
        rows = await self._run_in(self._database_thread, self._transactions.next_rows, conversation_ids)
        admission = admit(rows, self._numbers, self._queues, self._circuits, now=self._loop.time())
        for conversation_id, delay_s in admission.delayed:
            self._wakes.wake_later(conversation_id, delay_s)
        slots = await self._ask_limits(admission.limited) if admission.limited else {}
        allowed, refused = [*admission.unlimited, *slots], admission.refused
        if not allowed and not refused:
            return
        asked_at = self._loop.time()
        claims = await self._run_in(self._database_thread, self._transactions.claim, allowed, refused)
        for row, reason in claims.refused:
            log.info("not sent", outbox_id=row.outbox_id, number=row.number_id, reason=reason)
            metrics.sends_total.labels(row.number_id, SendResult.REFUSED).inc()
            self._wakes.wake([row.conversation_id])
        for claimed in claims.claimed:
            self._start(claimed, asked_at, slots.get(claimed.row.outbox_id, 0.0))

    async def _ask_limits(self, rows: Sequence[OutboxRow]) -> dict[int, float]:
        """Returns the rows that the limits allow, each with the time at which it may be sent."""
        assert self._loop is not None
        decisions = await self._starts.ask(rows)
        now = self._loop.time()
        slots: dict[int, float] = {}
        # In reverse, because each row goes to the front of its queue.
        for row, decision in reversed(list(zip(rows, decisions, strict=True))):
            if decision.busy is None:
                slots[row.outbox_id] = now + decision.wait_s
            elif decision.busy is BusyLimit.NUMBER:
                self._queues.add(row.number_id, row.conversation_id, bulk=row.priority >= Priority.BULK, at_front=True)
                self._queues.busy_until(row.number_id, now + decision.wait_s)
            else:
                self._wakes.wake_later(row.conversation_id, decision.wait_s)
        return slots

    # -- calls in flight

    def _start(self, claimed: Claimed, asked_at: float, slot: float) -> None:
        row = claimed.row
        self._wakes.started(row.conversation_id)
        self._queues.remove(row.conversation_id)
        self._claims[row.outbox_id] = claimed
        self._queues.started(row.number_id)
        call = asyncio.create_task(self._call(claimed, asked_at, slot))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, claimed: Claimed, asked_at: float, slot: float) -> None:
        assert self._loop is not None
        finished = self._caller.interrupted(claimed)
        try:
            may_start = claimed.row.kind == OutboxKind.READ or await self._starts.turn(claimed.row, slot)
            # A process that was suspended may have lost its claim to others, and rows behind this one may be out.
            if may_start and self._loop.time() - max(asked_at, self._renewed_at) <= LEASE_S / 2:
                finished = await self._caller.call(claimed)
            else:
                finished = self._caller.not_made(claimed)
        except SQLAlchemyError as error:
            self._outage.failed(error)
            finished = self._caller.not_made(claimed)
        finally:
            self._finished_calls.append(finished)
            self._queues.ended(claimed.row.number_id)
            self._answers.set()
            self._wakes.work.set()

    async def _write_answers(self) -> None:
        attempts = 0
        while not (self._finished and not self._finished_calls):
            if not self._finished_calls:
                self._answers.clear()
                await self._answers.wait()
            calls, self._finished_calls = self._finished_calls[:BATCH], self._finished_calls[BATCH:]
            if not calls:
                continue
            self._update_circuits(calls)
            try:
                written = await self._run_in(self._database_thread, self._transactions.finish, calls)
            except SQLAlchemyError as error:
                self._outage.failed(error)
                self._finished_calls = calls + self._finished_calls
                attempts += self._finished
                if attempts > FINAL_WRITE_ATTEMPTS:
                    return
                await asyncio.sleep(DATABASE_RETRY_S)
                continue
            for call in calls:
                self._continue_conversation(call, more=written.get(call.row.outbox_id, False))
            if any(call.outcome.slow_down for call in calls):
                await self._starts.slow_down({call.row.number_id for call in calls if call.outcome.slow_down})

    def _update_circuits(self, calls: Iterable[FinishedCall]) -> None:
        """Opens or closes the circuits of numbers, depending on the results of their calls."""
        assert self._loop is not None
        for call in calls:
            number_id = call.row.number_id
            if call.outcome.graph_answered:
                circuit = self._circuits.pop(number_id, None)
                if circuit is not None and circuit.is_open:
                    self._queues.busy_until(number_id, 0.0)
                    self._wakes.work.set()
            elif call.outcome.graph_answered is False:
                circuit = self._circuits.setdefault(
                    number_id, Circuit(threshold=5, first_s=1.0, cap_s=30.0, draw=self._draw)
                )
                circuit.failed(self._loop.time())

    def _continue_conversation(self, call: FinishedCall, *, more: bool) -> None:
        """Logs and counts a call whose result was written, and continues with its conversation."""
        row, update = call.row, call.outcome.update
        metrics.sends_total.labels(row.number_id, call.outcome.result).inc()
        if update.state in (OutboxState.FAILED, OutboxState.UNKNOWN) or call.outcome.pause_number_s:
            log.warning(
                "message not sent" if update.state != OutboxState.UNKNOWN else "outcome of a send is unknown",
                outbox_id=row.outbox_id,
                number=row.number_id,
                result=call.outcome.result,
                code=update.code,
                reason=update.reason,
            )
        self._claims.pop(row.outbox_id, None)
        woken = self._wakes.ended(row.conversation_id)
        if update.state == OutboxState.QUEUED:
            if not call.outcome.pause_number_s:
                self._wakes.wake_later(row.conversation_id, max(update.delay_s, call.outcome.pause_pair_s))
        elif more or woken:
            self._wakes.wake([row.conversation_id])
        if call.probe and call.outcome.number_works:
            self._sweep_now.set()

    # -- sweeping

    async def _sweep_until_stopped(self) -> None:
        while not self._finished:
            await self._sweep()
            try:
                async with asyncio.timeout(self._sweep_interval_s):
                    await self._sweep_now.wait()
            except TimeoutError:
                pass
            self._sweep_now.clear()

    async def _sweep(self) -> None:
        # Independent of how many are queued here: rows of other numbers whose wake-up was lost must not wait for them.
        limit = 0 if self._stopping else SWEEP_LIMIT
        assert self._loop is not None
        began = self._loop.time()
        try:
            swept = await self._run_in(self._database_thread, self._transactions.sweep, list(self._claims), limit)
        except SQLAlchemyError as error:
            self._outage.failed(error)
            return
        self._outage.answered()
        self._renewed_at = began
        if swept.expired:
            log.warning("rows of a sender that died are unknown now", rows=len(swept.expired))
        for number_id in swept.resumed:
            log.info("the number has new credentials; its messages are sent again", number=number_id)
        if swept.resumed:
            self._sweep_now.set()
        self._more_due = limit > 0 and len(swept.due) >= limit
        self._wakes.wake(swept.expired)
        self._wakes.wake(conversation_id for conversation_id in swept.due if conversation_id not in self._queues)

    def _run_in(
        self, thread: ThreadPoolExecutor, function: Callable[..., Result], *arguments: object
    ) -> asyncio.Future[Result]:
        assert self._loop is not None
        return self._loop.run_in_executor(thread, function, *arguments)
