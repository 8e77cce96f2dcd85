"""Defines the result that a reconciler returns to the controller: the outcome, and when to reconcile again."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Outcomes of a reconcile, as reconcilers return them and metrics count them."""

    READY = "ready"
    """The object is as desired."""
    WAITING = "waiting"
    """Nothing failed, but the object is not as desired yet. It is reconciled again later, or when something else
    changes."""
    FAILED = "failed"
    """Something failed. The object is reconciled again later."""
    STALLED = "stalled"
    """A person must act before the object can be as desired."""


class NoOutcome(StrEnum):
    """Outcomes that metrics count for reconciles whose reconciler returned no outcome."""

    GONE = "gone"
    """The object does not exist any more, or there is nothing of ours in it."""
    CONFLICT = "conflict"
    """The object was changed by others while it was reconciled."""
    AWAY = "away"
    """The API server did not answer."""
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """The result that a reconciler returns to the controller."""

    requeue_after_s: float | None
    """In how many seconds to reconcile again. None: at the usual resync, or when something that is watched changes."""
    outcome: Outcome
