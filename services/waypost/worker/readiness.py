"""Checks the readiness of a worker."""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from waypost.store.connection.readiness import DatabaseReadiness


class Readiness:
    """Checks whether this worker can work. The threads of the probe server call this check."""

    def __init__(self, engine: Engine, problems: Sequence[Callable[[], str | None]]) -> None:
        """Creates a check. Each of `problems` returns at once why its part of the worker cannot work, or None."""
        self._database = DatabaseReadiness(engine)
        self._problems = problems

    def reason(self) -> str | None:
        """Returns None if the worker is ready, else one line that says why not."""
        # The database comes last: only that check may wait.
        for problem in self._problems:
            if (reason := problem()) is not None:
                return reason
        return self._database.reason()
