"""How a reconcile ended, for whoever called it: when to come again, and what to count."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ready", "waiting", "failed", "stalled"]
"""ready: as desired. waiting: on its way, or for a known time. failed: tried again. stalled: a person must act."""


@dataclass(frozen=True)
class Result:
    """`requeue_after_s` None: nothing is due before the usual resync, or a change of something watched."""

    requeue_after_s: float | None
    outcome: Outcome
