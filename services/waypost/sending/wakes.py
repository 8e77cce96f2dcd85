"""Which conversations a sender should look at: now, at a later moment, or after the call it has in flight for them."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

REMEMBERED_S = 60.0
"""Conversations due within this are kept in mind; later ones are left to the sweeper."""


class Wakes:
    """Belongs to one event loop. `work` is set whenever `take` may give something new."""

    def __init__(self) -> None:
        self.work = asyncio.Event()
        self._woken: OrderedDict[int, None] = OrderedDict()
        self._flying: dict[int, bool] = {}
        """Conversations with a call in flight, and whether they were woken meanwhile."""
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Conversations to be looked at now."""
        return len(self._woken)

    def wake(self, conversation_ids: Iterable[int]) -> None:
        """Look at these, first come first served."""
        for conversation_id in conversation_ids:
            if conversation_id in self._flying:
                self._flying[conversation_id] = True
            else:
                self._woken[conversation_id] = None
        self.work.set()

    def wake_later(self, conversation_id: int, delay_s: float) -> None:
        """Look at this one after `delay_s`, or earlier if that was wished before."""
        if delay_s > REMEMBERED_S:
            return
        loop = asyncio.get_running_loop()
        moment = loop.time() + max(delay_s, 0.0)
        timer = self._timers.get(conversation_id)
        if timer is not None:
            if timer.when() <= moment:
                return
            timer.cancel()
        self._timers[conversation_id] = loop.call_at(moment, self._fire, conversation_id)

    def _fire(self, conversation_id: int) -> None:
        del self._timers[conversation_id]
        self.wake([conversation_id])

    def take(self, most: int) -> list[int]:
        """Up to `most` conversations to look at now."""
        return [self._woken.popitem(last=False)[0] for _ in range(min(most, len(self._woken)))]

    def started(self, conversation_id: int) -> None:
        """A call of this conversation is in flight: wake-ups wait for its end."""
        self._flying[conversation_id] = conversation_id in self._woken
        self._woken.pop(conversation_id, None)

    def ended(self, conversation_id: int) -> bool:
        """The call is over and written down; returns whether the conversation was woken meanwhile."""
        return self._flying.pop(conversation_id, False)

    def close(self) -> None:
        """Forget everything."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._woken.clear()
