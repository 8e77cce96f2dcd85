"""The result of a reconcile, as the controller needs it: the outcome, and when to reconcile again."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Outcomes of a reconcile, as reconcilers return them and metrics count them."""

    READY = "ready"
    """The object is as desired."""
    WAITING = "waiting"
    """Nothing failed; it goes on after a while, or when something else changes."""
    FAILED = "failed"
    """It is tried again."""
    STALLED = "stalled"
    """A person must act."""


class NoOutcome(StrEnum):
    """Counted by metrics when a reconciler returned no outcome."""

    GONE = "gone"
    """The object is not there any more, or has nothing of ours."""
    CONFLICT = "conflict"
    """The object changed while it was reconciled."""
    AWAY = "away"
    """The API server did not answer."""
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """The result that a reconciler returns to the controller."""

    requeue_after_s: float | None
    """When to reconcile again; None: at the usual resync, or when something that is watched changes."""
    outcome: Outcome
