"""The log of database errors in one part of a process: the database is away, or it is there and refuses."""

from typing import Any

from waypost.store.connection.database import refusal
from waypost.telemetry.outage import Outage


class DatabaseOutage(Outage):
    """Logs outages and refusals of the database.

    An outage is no warning, because readiness warns of it. A refusal is one, because readiness stays green.
    """

    def __init__(self, logger: str, *, began: str, ended: str) -> None:
        super().__init__(logger, began=began, ended=ended)
        self._refused: set[tuple[object, ...]] = set()

    def failed(self, error: Exception, **facts: Any) -> None:
        """Log a failed statement. A refusal is logged once until `answered`, with `facts` about the work that waits."""
        reason = refusal(error)
        if reason is None:
            super().failed(error, **facts)
            return
        refused = (reason, *sorted(facts.items()))
        if refused not in self._refused:
            self._log.warning("the database refuses what it is asked; it is asked again", error=reason, **facts)
        self._refused.add(refused)

    def answered(self) -> None:
        """Note that a statement worked."""
        self._refused.clear()
        super().answered()
