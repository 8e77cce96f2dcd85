"""The conversations that a sender should look at: now, at a later time, or after their call in flight has ended."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

REMEMBERED_S = 60.0
"""Seconds. A conversation that is due within this time gets a timer; a sweep finds those that are due later."""


class Wakes:
    """The wake-ups of one sender, for use in one event loop.

    `work` is set whenever `take` may return a conversation.
    """

    def __init__(self) -> None:
        self.work = asyncio.Event()
        self._woken: OrderedDict[int, None] = OrderedDict()
        self._in_flight: dict[int, bool] = {}
        """Conversations with a call in flight, each with whether it was woken during the call."""
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Returns the number of conversations to look at now."""
        return len(self._woken)

    def wake(self, conversation_ids: Iterable[int]) -> None:
        """Adds conversations to look at as soon as possible, in the order in which they are woken."""
        for conversation_id in conversation_ids:
            if conversation_id in self._in_flight:
                self._in_flight[conversation_id] = True
            else:
                self._woken[conversation_id] = None
        self.work.set()

    def wake_later(self, conversation_id: int, delay_s: float) -> None:
        """Adds a conversation to look at after `delay_s` seconds, or earlier if it already has an earlier timer."""
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
        """Removes and returns up to `most` conversations to look at now."""
        return [self._woken.popitem(last=False)[0] for _ in range(min(most, len(self._woken)))]

    def started(self, conversation_id: int) -> None:
        """Records that a call of this conversation is in flight. A wake-up now waits until the call has ended."""
        self._in_flight[conversation_id] = conversation_id in self._woken
        self._woken.pop(conversation_id, None)

    def ended(self, conversation_id: int) -> bool:
        """Records that the call's result was written. Returns whether the conversation was woken during the call."""
        return self._in_flight.pop(conversation_id, False)

    def close(self) -> None:
        """Cancels all timers and wake-ups."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._woken.clear()
