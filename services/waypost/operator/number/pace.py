"""When Meta is looked at: at once when something is new, else at the pace of the resync or of the back-off."""

from waypost.operator.api.condition_types import Reason
from waypost.operator.api.conditions import seconds
from waypost.operator.number.state import Observed
from waypost.operator.number.status.compose import fraction
from waypost.operator.number.subject import Subject

EARLY_SHARE = 0.8
"""Of the resync, after which a look is due: resyncs are spread by a jitter, and none shall come in vain."""


class Pace:
    """Remembers when each number was looked at. Nothing of it must outlive a restart: see `in_s`."""

    def __init__(self, started_at: float, resync_s: float) -> None:
        self._started_at = started_at
        self._resync_s = resync_s
        self._looked_at: dict[str, float] = {}

    def looked(self, uid: str, now: float) -> None:
        """The number was looked at."""
        self._looked_at[uid] = now

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._looked_at.pop(uid, None)

    def is_new(self, subject: Subject, observed: Observed) -> bool:
        """The spec, the credentials or a person's wish changed since Meta was last looked at."""
        return (
            subject.status.get("observedGeneration") != subject.metadata.generation
            or observed.checked_version != observed.secret_version
            or subject.is_requested
            or subject.ready_reason in ("", Reason.SUSPENDED, Reason.CONFLICT)
        )

    def in_s(self, subject: Subject, observed: Observed, now: float) -> float:
        """0 when Meta is to be looked at now, else in how many seconds.

        After a restart a settled number is treated as if it was looked at some time before, differently long ago for
        each: a restart is no reason to ask Meta about all numbers at once.
        """
        if self.is_new(subject, observed):
            return 0.0
        if (next_attempt := seconds(subject.status.get("nextAttemptTime"))) is not None:
            return max(0.0, next_attempt - now)
        uid = subject.metadata.uid
        last = self._looked_at.get(uid)
        if last is None and subject.is_settled:
            last = self._looked_at[uid] = self._started_at - (1 - fraction(uid)) * EARLY_SHARE * self._resync_s
        if last is None or subject.ready_reason == Reason.WAITING_FOR_WEBHOOK:
            return 0.0
        return max(0.0, last + EARLY_SHARE * self._resync_s - now)
