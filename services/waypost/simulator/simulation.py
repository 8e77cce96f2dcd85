"""The whole simulated Meta: its world, its clock, what was sent and what is on its way."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from waypost.simulator.graph.faults import Faults
from waypost.simulator.world.config import SimulatorConfig
from waypost.simulator.world.deliveries import item_update
from waypost.simulator.world.delivery_sender import Courier, Ticket
from waypost.simulator.world.ledger import Ledger, Received, Sent
from waypost.simulator.world.limits import HourlyBudget, Pace
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.statuses import Agenda, Due, status_update
from waypost.simulator.world.world import Number, User, World


class Clock:
    """Unix time, and how far it was moved ahead by hand."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def now(self) -> float:
        return time.time() + self.offset_s


class Simulation:
    """All state of one simulator."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.initial = config
        self.clock = Clock()
        self.now = self.clock.now
        self.world = World(config.kept_media_bytes)
        self.ledger = Ledger(config.kept_sends)
        self.faults = Faults()
        self.pairs = Pace()
        self.throughput = Pace()
        self.budget = HourlyBudget()
        self.free_service: dict[str, int] = {}
        """Service messages of each number: the first 1,000 are free."""
        self.courier = Courier(self.world, lambda: self.config, self.now)
        self._timers: set[asyncio.TimerHandle] = set()
        self.agenda = Agenda(self._release, lambda: self.config.status_tick_s)

    def inbound(
        self, number: Number, user: User, message: dict[str, Any], *, contact: dict[str, Any], times: int = 1
    ) -> tuple[Received, Ticket]:
        """A user's message reaches the number: it is recorded, opens the window, and is delivered `times` times."""
        now = self.now()
        ticket = Ticket()
        received = Received(
            seq=self.ledger.next_seq(),
            wamid=message["id"],
            phone_number_id=number.phone_number_id,
            user=user,
            message=message,
            time=now,
            ticket=ticket,
        )
        self.ledger.add_received(received)
        if number.messages_per_second:
            self.throughput.spend(number.phone_number_id, now, 1 / number.messages_per_second)
        update = item_update(self.world.account_of(number), number, "messages", message, contact=contact, at=now)
        self.courier.submit([update] * times, ticket)
        return received, ticket

    def plan_statuses(self, sent: Sent, failure: Refusal | None) -> None:
        """Let an accepted message be sent, delivered and read, or fail."""
        config = self.config
        if failure is not None:
            after = config.sent_after_s or 0.0
            self.agenda.add(after, (sent, "failed", sent.time + after, failure))
            return
        plan = (("sent", config.sent_after_s), ("delivered", config.delivered_after_s), ("read", config.read_after_s))
        for status, after_s in plan:
            if after_s is not None:
                self.agenda.add(after_s, (sent, status, sent.time + after_s, None))

    def _release(self, due: list[Due]) -> None:
        updates = [status_update(self.world, *one) for one in due]
        self.ledger.version += 1
        self.courier.submit(update for update in updates if update is not None)

    def later(self, after_s: float, action: Callable[[], None]) -> None:
        """Do something after a while, unless the simulation is reset before."""

        def due() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(after_s, due)
        self._timers.add(timer)

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def reset(self, *, world: bool) -> None:
        """Forget the traffic; with `world` also every app, account, number and token."""
        self.config = self.initial
        self.clock.offset_s = 0.0
        self.agenda.clear()
        self._cancel_timers()
        self.courier.forget()
        self.ledger.clear()
        self.faults.armed.clear()
        self.pairs.clear()
        self.throughput.clear()
        self.budget.clear()
        self.free_service.clear()
        self.world.forget(everything=world)

    async def close(self) -> None:
        """Stop the agenda and all deliveries."""
        self.agenda.clear()
        self._cancel_timers()
        await self.courier.close()
