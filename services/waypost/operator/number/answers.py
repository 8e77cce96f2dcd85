"""Remembers when Meta last answered about each number.

With these times, conditions do not report old answers as if they were new.
"""

from collections.abc import Mapping
from typing import Any

from waypost.operator.api.conditions import seconds
from waypost.operator.number.state import MetaState, Question

LEAST_STALE_S = 1800.0
"""Least number of seconds without an answer after which a condition is no longer believed."""
RESYNCS = 3
"""Resync intervals without an answer after which a condition is no longer believed, if they are longer than
`LEAST_STALE_S`."""


class LastAnswers:
    """Holds the times of Meta's last answers, by number and question, in seconds since 1970.

    Each answer would cost a write of the status, so these times are normally kept in memory only. If an answer is
    overdue, the time of the last answer is written into the status (`unansweredSince`). Without this, the last
    answer would look newer after a restart.
    """

    def __init__(self, started_at: float, resync_s: float) -> None:
        self._started_at = started_at
        self._stale_s = max(LEAST_STALE_S, RESYNCS * resync_s)
        self._at: dict[str, dict[Question, float]] = {}

    def note(self, uid: str, meta: MetaState, now: float) -> None:
        """Notes which questions about a number Meta has just answered."""
        self._at.setdefault(uid, {}).update(dict.fromkeys(meta.answered, now))

    def forget(self, uid: str) -> None:
        """Drops a number that is gone."""
        self._at.pop(uid, None)

    def stale(self, uid: str, status: Mapping[str, Any], now: float) -> dict[Question, float]:
        """Returns the questions whose last answers are too old to say anything about the present.

        Each question is returned with the time of its last answer.
        """
        return self._older_than(self._stale_s, uid, status, now)

    def overdue(self, uid: str, status: Mapping[str, Any], now: float) -> dict[Question, float]:
        """Returns the questions whose last answers have reached half the age at which they are stale.

        Each question is returned with the time of its last answer.
        """
        return self._older_than(self._stale_s / 2, uid, status, now)

    def _older_than(self, age_s: float, uid: str, status: Mapping[str, Any], now: float) -> dict[Question, float]:
        known, written = self._at.get(uid, {}), status.get("unansweredSince")
        found = {}
        for question in Question:
            at = known.get(question)
            if at is None and isinstance(written, dict):
                at = seconds(written.get(question))
            # Without a record, the last answer came before this process started. Its time is then not made too old.
            at = self._started_at if at is None else at
            if now - at >= age_s:
                found[question] = at
        return found
