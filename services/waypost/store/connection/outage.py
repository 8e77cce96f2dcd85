"""Logs the database errors of one part of a process.

The database is either unreachable, or it is reachable and refuses the work.
"""

from typing import Any

from waypost.store.connection.database import refusal
from waypost.telemetry.outage import Outage


class DatabaseOutage(Outage):
    """Logs when the database is unreachable (an outage) and when it refuses the work (a refusal).

    An outage is logged as info, because readiness warns of it. A refusal is logged as a warning, because
    readiness does not see it.
    """

    def __init__(self, logger: str, *, began: str, ended: str) -> None:
        super().__init__(logger, began=began, ended=ended)
        self._refused: set[tuple[object, ...]] = set()

    def failed(self, error: Exception, **facts: Any) -> None:
        """Logs a failed statement. A refusal is logged only once until `answered` is called.

        `facts` describe the work that waits.
        """
        reason = refusal(error)
        if reason is None:
            super().failed(error, **facts)
            return
        refused = (reason, *sorted(facts.items()))
        if refused not in self._refused:
            self._log.warning("the database refuses what it is asked; it is asked again", error=reason, **facts)
        self._refused.add(refused)

    def answered(self) -> None:
        """Records that the database executed a statement."""
        self._refused.clear()
        super().answered()
