"""The conversations that wait in this process, by number, and how many calls each number may have in flight.

A number whose calls hang must not take every slot: a number may use three quarters of what the others leave free, and
always at least one slot, so that the next number still finds room.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

RELEASE_S = 0.1
"""A number that was too fast asks again for as many rows as its limit allows in this time, and at least one."""


@dataclass(slots=True)
class Line:
    """One number's queue: replies, then bulk, each in the order of arrival."""

    replies: OrderedDict[int, None] = field(default_factory=OrderedDict)
    bulk: OrderedDict[int, None] = field(default_factory=OrderedDict)
    in_flight: int = 0
    resumes_at: float = 0.0
    """Not before this (the caller's clock) are parked rows worth another try."""

    def __len__(self) -> int:
        return len(self.replies) + len(self.bulk)


class Lines:
    """All lines of one sender. Not thread-safe; times are of any one clock."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._lines: dict[str, Line] = {}
        self._parked: dict[int, str] = {}
        self._in_flight = 0

    def __len__(self) -> int:
        """Conversations parked."""
        return len(self._parked)

    def __contains__(self, conversation_id: int) -> bool:
        return conversation_id in self._parked

    @property
    def in_flight(self) -> int:
        """Calls claimed and not ended."""
        return self._in_flight

    def line(self, number_id: str) -> Line:
        """The line of a number."""
        return self._lines.setdefault(number_id, Line())

    def room(self, number_id: str) -> int:
        """How many more rows of this number may be claimed now."""
        line = self.line(number_id)
        free_for_it = self._concurrency - (self._in_flight - line.in_flight)
        return max(1, math.ceil(free_for_it * 3 / 4)) - line.in_flight

    def started(self, number_id: str) -> None:
        """A row of this number was claimed."""
        self.line(number_id).in_flight += 1
        self._in_flight += 1

    def ended(self, number_id: str) -> None:
        """A claimed row of this number has its answer."""
        self.line(number_id).in_flight -= 1
        self._in_flight -= 1

    def park(self, number_id: str, conversation_id: int, *, bulk: bool, first: bool = False) -> None:
        """Let a conversation wait for its number; `first` for one that was at the front already."""
        self.unpark(conversation_id)
        line = self.line(number_id)
        queue = line.bulk if bulk else line.replies
        queue[conversation_id] = None
        self._parked[conversation_id] = number_id
        if first:
            queue.move_to_end(conversation_id, last=False)

    def unpark(self, conversation_id: int) -> None:
        """Let a conversation wait no longer, if it does."""
        number_id = self._parked.pop(conversation_id, None)
        if number_id is not None:
            line = self._lines[number_id]
            line.replies.pop(conversation_id, None)
            line.bulk.pop(conversation_id, None)

    def busy_until(self, number_id: str, moment: float) -> None:
        """The number's limit is used up until then."""
        self.line(number_id).resumes_at = moment

    def release(self, now: float, per_second: Callable[[str], float]) -> list[int]:
        """Conversations that are worth another try now, replies first; they are parked no longer.

        `per_second` tells the limit of a number.
        """
        released: list[int] = []
        for number_id, line in self._lines.items():
            if line.resumes_at > now or not len(line):
                continue
            count = min(self.room(number_id), math.ceil(per_second(number_id) * RELEASE_S))
            for queue in (line.replies, line.bulk):
                while queue and count > 0:
                    released.append(queue.popitem(last=False)[0])
                    count -= 1
        for conversation_id in released:
            del self._parked[conversation_id]
        return released

    def next_release(self) -> float | None:
        """When `release` may give something again, unless a call ends before; None: not before one does."""
        moments = [line.resumes_at for number_id, line in self._lines.items() if len(line) and self.room(number_id) > 0]
        return min(moments, default=None)
