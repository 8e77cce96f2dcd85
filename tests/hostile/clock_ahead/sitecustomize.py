"""Sets the wall clock of a Python process 31 s ahead. Python imports this module at its start if it is in the path."""

import time

AHEAD_S = 31

_time, _time_ns = time.time, time.time_ns


def _ahead() -> float:
    return _time() + AHEAD_S


def _ahead_ns() -> int:
    return _time_ns() + AHEAD_S * 10**9


time.time, time.time_ns = _ahead, _ahead_ns
