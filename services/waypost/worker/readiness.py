"""Whether this worker can work."""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from waypost.store.connection.readiness import DatabaseReadiness


class Readiness:
    """Asked from the probe's threads."""

    def __init__(self, engine: Engine, problems: Sequence[Callable[[], str | None]]) -> None:
        """Each of `problems` tells at once why its part cannot work, or None; the database is asked last."""
        self._database = DatabaseReadiness(engine)
        self._problems = problems

    def reason(self) -> str | None:
        """None when ready, else one line on why not."""
        for problem in self._problems:
            if (reason := problem()) is not None:
                return reason
        return self._database.reason()
