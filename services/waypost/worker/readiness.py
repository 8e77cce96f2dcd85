"""Whether this worker can work."""

import threading
from collections.abc import Callable, Sequence

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import database


class Readiness:
    """Asked from the probe's threads."""

    def __init__(self, engine: Engine, problems: Sequence[Callable[[], str | None]]) -> None:
        """Each of `problems` tells at once why its part cannot work, or None; the database is asked last."""
        self._engine = engine
        self._problems = problems
        self._asking = threading.Lock()

    def reason(self) -> str | None:
        """None when ready, else one line on why not."""
        for problem in self._problems:
            if (reason := problem()) is not None:
                return reason
        # One at a time, or the probes that a hung database does not answer would take every connection there is.
        if not self._asking.acquire(blocking=False):
            return "the database has not answered yet"
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            return f"the database cannot be used: {database.trouble(error)}"
        finally:
            self._asking.release()
        return None
