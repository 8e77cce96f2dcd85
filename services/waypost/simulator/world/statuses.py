"""Composes the statuses of accepted messages, and schedules them in batches."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from waypost.simulator.world.deliveries import Update, item_update
from waypost.simulator.world.history import Sent
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.values import SendStatus
from waypost.simulator.world.world import World

RANK: dict[str, int] = {status: rank for rank, status in enumerate(SendStatus)}
"""Ranks the statuses of a message. A later status is never replaced by an earlier one."""


def status_item(sent: Sent, status: str, at: float, error: Refusal | None = None) -> dict[str, Any]:
    """Returns an item of `statuses`. Only the statuses `sent` and `delivered` have a price.

    Since v24.0 an item has no `conversation`.
    """
    item: dict[str, Any] = {"id": sent.wamid, "status": status, "timestamp": str(int(at))}
    if sent.user.phone is not None:
        item["recipient_id"] = sent.user.phone
    if sent.by_user_id:
        item["recipient_user_id"] = sent.user.user_id
    if sent.callback_data is not None:
        item["biz_opaque_callback_data"] = sent.callback_data
    if status in (SendStatus.SENT, SendStatus.DELIVERED):
        item["pricing"] = {
            "billable": sent.billable,
            "pricing_model": "PMP",
            "category": sent.category,
            "type": "regular" if sent.billable else "free_customer_service",
        }
    if error is not None:
        item["errors"] = [error.webhook_error()]
    return item


def contact(sent: Sent, status: str) -> dict[str, Any] | None:
    """Returns the contact that Meta sends beside a status. A `failed` status has no contact."""
    if status == SendStatus.FAILED:
        return None
    found: dict[str, Any] = {"profile": {"name": sent.user.name}, "user_id": sent.user.user_id}
    if sent.user.phone is not None:
        found["wa_id"] = sent.user.phone
    return found


def status_update(world: World, sent: Sent, status: str, at: float, error: Refusal | None = None) -> Update | None:
    """Records a status of a message and returns its update. Returns None if the number no longer exists."""
    number = world.numbers.get(sent.phone_number_id)
    if number is None:
        return None
    sent.statuses.append(status)
    if RANK.get(status, 0) > RANK.get(sent.status, 0):
        sent.status = status
    if error is not None:
        sent.error = error.code
    item = status_item(sent, status, at, error)
    return item_update(world.account_of(number), number, "statuses", item, contact=contact(sent, status), at=at)


DueStatus = tuple[Sent, str, float, Refusal | None]
"""The arguments of `status_update`, without the world."""


class StatusSchedule:
    """Keeps statuses in the order in which they are due.

    `release` is called with all statuses that become due within one tick.
    """

    def __init__(self, release: Callable[[list[DueStatus]], None], tick_s: Callable[[], float]) -> None:
        self._release = release
        self._tick_s = tick_s
        self._heap: list[tuple[float, int, DueStatus]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def add(self, after_s: float, due: DueStatus) -> None:
        """Schedules a status that is due `after_s` seconds from now."""
        loop = asyncio.get_running_loop()
        self._count += 1
        heapq.heappush(self._heap, (loop.time() + after_s, self._count, due))
        self._plan(loop)

    def clear(self) -> None:
        """Drops all scheduled statuses."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at = float("inf")

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._heap:
            return
        wanted = max(self._heap[0][0], loop.time() + self._tick_s())
        if wanted >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wanted
        self._timer = loop.call_at(wanted, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._timer_at = float("inf")
        now = loop.time()
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        if due:
            self._release(due)
        self._plan(loop)
