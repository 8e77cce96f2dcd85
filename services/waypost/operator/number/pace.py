"""Decides when to ask Meta about a number.

If there is news, Meta is asked at once. Otherwise Meta is asked when the resync or the back-off is due.
"""

from waypost.contracts.condition_types import Reason
from waypost.operator.api.conditions import seconds
from waypost.operator.number.resource import NumberResource
from waypost.operator.number.state import Observed
from waypost.operator.number.status.compose import fraction

EARLY_SHARE = 0.8
"""Share of the resync interval after which Meta is asked again. It is less than 1 because the times of resyncs vary by
a jitter, and a resync that comes early must ask, too."""


class Pace:
    """Remembers when Meta was last asked about each number.

    A restart loses these times. This does no harm, for the reason that `wait_s` gives.
    """

    def __init__(self, started_at: float, resync_s: float) -> None:
        self._started_at = started_at
        self._resync_s = resync_s
        self._asked_at: dict[str, float] = {}

    def asked(self, uid: str, now: float) -> None:
        """Records that Meta was asked about the number."""
        self._asked_at[uid] = now

    def forget(self, uid: str) -> None:
        """Drops a number that is gone."""
        self._asked_at.pop(uid, None)

    def has_news(self, resource: NumberResource, observed: Observed) -> bool:
        """Returns whether something new has happened since Meta was last asked.

        The spec or the credentials may have changed, a user may have requested a reconcile, or the phone number may
        have become free.
        """
        return (
            resource.status.get("observedGeneration") != resource.metadata.generation
            or observed.checked_version != observed.secret_version
            or resource.is_requested
            or resource.ready_reason in ("", Reason.SUSPENDED)
            or (resource.ready_reason == Reason.CONFLICT and observed.holder is None)
        )

    def wait_s(self, resource: NumberResource, observed: Observed, now: float) -> float:
        """Returns in how many seconds to ask Meta. 0 means that Meta is asked now.

        After a restart, each settled number is treated as if Meta had been asked about it before the restart, each at
        a different time. A restart therefore does not cause questions about all numbers at once.
        """
        if self.has_news(resource, observed):
            return 0.0
        if (next_attempt := seconds(resource.status.get("nextAttemptTime"))) is not None:
            return max(0.0, next_attempt - now)
        uid = resource.metadata.uid
        last = self._asked_at.get(uid)
        if last is None and resource.is_settled:
            last = self._asked_at[uid] = self._started_at - (1 - fraction(uid)) * EARLY_SHARE * self._resync_s
        if last is None or resource.ready_reason == Reason.WAITING_FOR_WEBHOOK:
            return 0.0
        return max(0.0, last + EARLY_SHARE * self._resync_s - now)
