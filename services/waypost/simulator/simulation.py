"""Holds the whole state of the simulated Meta: objects, clock, limits, messages and deliveries."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from waypost.simulator.graph.faults import Faults
from waypost.simulator.world.config import SimulatorConfig
from waypost.simulator.world.deliveries import item_update
from waypost.simulator.world.delivery_sender import DeliveryReceipt, DeliverySender
from waypost.simulator.world.history import MessageHistory, Received, Sent
from waypost.simulator.world.limits import HourlyLimit, RateLimit
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.statuses import DueStatus, StatusSchedule, status_update
from waypost.simulator.world.values import SendStatus
from waypost.simulator.world.world import Number, User, World


class Clock:
    """Unix time plus an offset, which `POST /_sim/clock` increases."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self.offset_s = 0.0

    def now(self) -> float:
        """Returns the simulated time in Unix seconds."""
        return self._source() + self.offset_s


class Simulation:
    """The state of one simulator."""

    def __init__(self, config: SimulatorConfig, clock: Clock) -> None:
        self.config = config
        self.initial = config
        self.clock = clock
        self.now = self.clock.now
        self.world = World(config.kept_media_bytes)
        self.history = MessageHistory(config.kept_sends)
        self.faults = Faults()
        self.pair_limit = RateLimit()
        self.throughput_limit = RateLimit()
        self.hourly_limit = HourlyLimit()
        self.free_service: dict[str, int] = {}
        """The number of service messages that each number has sent; the first 1,000 are free."""
        self.delivery_sender = DeliverySender(self.world, lambda: self.config, self.now)
        self._timers: set[asyncio.TimerHandle] = set()
        self.status_schedule = StatusSchedule(self._release, lambda: self.config.status_tick_s)

    def inbound(
        self, number: Number, user: User, message: dict[str, Any], *, contact: dict[str, Any], times: int = 1
    ) -> tuple[Received, DeliveryReceipt]:
        """Records a message from a user to the number, and delivers it `times` times.

        The message opens the service window.
        """
        now = self.now()
        receipt = DeliveryReceipt()
        received = Received(
            seq=self.history.next_seq(),
            wamid=message["id"],
            phone_number_id=number.phone_number_id,
            user=user,
            message=message,
            time=now,
            receipt=receipt,
        )
        self.history.add_received(received)
        if number.messages_per_second:
            self.throughput_limit.count(number.phone_number_id, now, 1 / number.messages_per_second)
        update = item_update(self.world.account_of(number), number, "messages", message, contact=contact, at=now)
        self.delivery_sender.submit([update] * times, receipt)
        return received, receipt

    def plan_statuses(self, sent: Sent, failure: Refusal | None) -> None:
        """Schedules the statuses of an accepted message: either sent, delivered and read, or failed."""
        config = self.config
        if failure is not None:
            after = config.sent_after_s or 0.0
            self.status_schedule.add(after, (sent, SendStatus.FAILED, sent.time + after, failure))
            return
        plan = (
            (SendStatus.SENT, config.sent_after_s),
            (SendStatus.DELIVERED, config.delivered_after_s),
            (SendStatus.READ, config.read_after_s),
        )
        for status, after_s in plan:
            if after_s is not None:
                self.status_schedule.add(after_s, (sent, status, sent.time + after_s, None))

    def _release(self, due: list[DueStatus]) -> None:
        updates = [status_update(self.world, *one) for one in due]
        self.history.version += 1
        self.delivery_sender.submit(update for update in updates if update is not None)

    def later(self, after_s: float, action: Callable[[], None]) -> None:
        """Runs an action after some seconds, unless the simulation is reset before then."""

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
        """Forgets all traffic. If `world` is set, also forgets every app, account, number and token."""
        self.config = self.initial
        self.clock.offset_s = 0.0
        self.status_schedule.clear()
        self._cancel_timers()
        self.delivery_sender.clear()
        self.history.clear()
        self.faults.armed.clear()
        self.pair_limit.clear()
        self.throughput_limit.clear()
        self.hourly_limit.clear()
        self.free_service.clear()
        self.world.reset(everything=world)

    async def close(self) -> None:
        """Stops all statuses and deliveries that are scheduled or in progress."""
        self.status_schedule.clear()
        self._cancel_timers()
        await self.delivery_sender.close()
