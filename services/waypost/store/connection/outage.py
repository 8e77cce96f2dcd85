"""The database, as one part of a process sees it: away, or there and not doing what it is asked."""

from typing import Any

from waypost.store.connection.database import refusal
from waypost.telemetry.outage import Outage


class DatabaseOutage(Outage):
    """That it is away is no warning, for readiness warns; what it refuses while readiness stays green is one."""

    def __init__(self, logger: str, *, began: str, ended: str) -> None:
        super().__init__(logger, began=began, ended=ended)
        self._refused: set[tuple[object, ...]] = set()

    def failed(self, error: Exception, **facts: Any) -> None:
        """It did not do as asked. Each refusal is told once until it answers, with the facts, which name what waits."""
        reason = refusal(error)
        if reason is None:
            super().failed(error, **facts)
            return
        told = (reason, *sorted(facts.items()))
        if told not in self._refused:
            self._log.warning("the database refuses what it is asked; it is asked again", error=reason, **facts)
        self._refused.add(told)

    def answered(self) -> None:
        """It did as asked."""
        self._refused.clear()
        super().answered()
