"""Sets a deadline for a bot's turn, because a turn runs code that is not ours.

A signal interrupts Python code and regular expressions, but not a C extension that never returns. In that
case a watchdog thread ends the process, and the supervisor of the process starts it again. The attempt was
counted before the turn began.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import structlog

from waypost.lanes.handler import TurnTimeout

log = structlog.get_logger(__name__)

WATCHDOG_GRACE_S: Final = 5.0
WATCHDOG_EXIT_STATUS: Final = 70


class Deadline:
    """Limits each call on the main thread to `seconds`. If a call takes `grace_s` more, a watchdog ends the process.

    Before that, the watchdog calls `before_exit` in its thread, so that calls to Meta that are in flight can
    finish. These calls are messages of other conversations.
    """

    def __init__(
        self,
        seconds: float,
        *,
        grace_s: float = WATCHDOG_GRACE_S,
        before_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._seconds = seconds
        self._grace_s = grace_s
        self._before_exit = before_exit
        self._started: float | None = None
        threading.Thread(target=self._watch, name="turn-watchdog", daemon=True).start()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises `TurnTimeout` inside the `with` block when the block's time is up.

        RQ's job timeout also uses the real-time timer of the process. RQ's timer is restored afterwards, with its
        remaining time.
        """
        previous_handler = signal.signal(signal.SIGALRM, _time_is_up)
        started = time.monotonic()
        previous_delay, _ = signal.setitimer(signal.ITIMER_REAL, self._seconds)
        self._started = started
        try:
            yield
        finally:
            self._started = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous_handler)
            if previous_delay:
                remaining = previous_delay - (time.monotonic() - started)
                signal.setitimer(signal.ITIMER_REAL, max(remaining, 0.001))

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self._grace_s))
            started = self._started
            if started is not None and time.monotonic() - started > self._seconds + self._grace_s:
                log.error("a turn cannot be interrupted; the worker ends itself", seconds=self._seconds)
                try:
                    self._before_exit()
                finally:
                    os._exit(WATCHDOG_EXIT_STATUS)


def _time_is_up(_signal: int, _frame: FrameType | None) -> None:
    raise TurnTimeout
