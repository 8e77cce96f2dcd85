"""Queues of the conversations that wait in this process, one per number.

The module also decides how many call slots each number may use. A number whose calls hang must not take every
slot. A number may use three quarters of the slots that the other numbers leave free, and always at least one
slot. The next number therefore still finds a free slot.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

RELEASE_S = 0.1
"""Seconds. A busy number asks again for as many rows as its limit allows in this time, and for at least one."""


@dataclass(slots=True)
class NumberQueue:
    """The queue of one number. Replies come first, then bulk messages, each in the order of arrival."""

    replies: OrderedDict[int, None] = field(default_factory=OrderedDict)
    bulk: OrderedDict[int, None] = field(default_factory=OrderedDict)
    in_flight: int = 0
    resumes_at: float = 0.0
    """Before this moment, by the caller's clock, a queued row need not be tried again."""

    def __len__(self) -> int:
        return len(self.replies) + len(self.bulk)


class NumberQueues:
    """The queues of all numbers of one sender. The class is not thread-safe.

    All times are in seconds of the caller's clock.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._queues: dict[str, NumberQueue] = {}
        self._number_of: dict[int, str] = {}
        self._in_flight = 0

    def __len__(self) -> int:
        """Returns how many conversations are queued."""
        return len(self._number_of)

    def __contains__(self, conversation_id: int) -> bool:
        return conversation_id in self._number_of

    def of(self, number_id: str) -> NumberQueue:
        """Returns the queue of a number."""
        return self._queues.setdefault(number_id, NumberQueue())

    def room(self, number_id: str) -> int:
        """Returns how many more rows of this number may be claimed now."""
        queue = self.of(number_id)
        free_for_it = self._concurrency - (self._in_flight - queue.in_flight)
        return max(1, math.ceil(free_for_it * 3 / 4)) - queue.in_flight

    def started(self, number_id: str) -> None:
        """Records that a call of this number begins."""
        self.of(number_id).in_flight += 1
        self._in_flight += 1

    def ended(self, number_id: str) -> None:
        """Records that a call of this number has ended."""
        self.of(number_id).in_flight -= 1
        self._in_flight -= 1

    def add(self, number_id: str, conversation_id: int, *, bulk: bool, at_front: bool = False) -> None:
        """Queues a conversation behind the other conversations of its number, or before them if `at_front` is set.

        A conversation that is already queued moves to its new place.
        """
        self.remove(conversation_id)
        queue = self.of(number_id)
        waiting = queue.bulk if bulk else queue.replies
        waiting[conversation_id] = None
        self._number_of[conversation_id] = number_id
        if at_front:
            waiting.move_to_end(conversation_id, last=False)

    def remove(self, conversation_id: int) -> None:
        """Takes a conversation out of its queue, if it is in a queue."""
        number_id = self._number_of.pop(conversation_id, None)
        if number_id is not None:
            queue = self._queues[number_id]
            queue.replies.pop(conversation_id, None)
            queue.bulk.pop(conversation_id, None)

    def busy_until(self, number_id: str, moment: float) -> None:
        """Makes `release` return no conversations of this number before `moment`."""
        self.of(number_id).resumes_at = moment

    def release(self, now: float, per_second: Callable[[str], float]) -> list[int]:
        """Takes the conversations that may be tried again now out of the queues. Returns them, replies first.

        `per_second` returns the rate limit of a number.
        """
        released: list[int] = []
        for number_id, queue in self._queues.items():
            if queue.resumes_at > now or not len(queue):
                continue
            count = min(self.room(number_id), math.ceil(per_second(number_id) * RELEASE_S))
            for waiting in (queue.replies, queue.bulk):
                while waiting and count > 0:
                    released.append(waiting.popitem(last=False)[0])
                    count -= 1
        for conversation_id in released:
            del self._number_of[conversation_id]
        return released

    def next_release(self) -> float | None:
        """Returns the earliest time when `release` may return a conversation, or None if a call must end first."""
        moments = [
            queue.resumes_at for number_id, queue in self._queues.items() if len(queue) and self.room(number_id) > 0
        ]
        return min(moments, default=None)
