"""Decides whether this process can acknowledge deliveries."""

import threading

from sqlalchemy import Engine

from waypost.store.connection.readiness import DatabaseReadiness
from waypost.webhook.directory import Directory
from waypost.webhook.intake import Intake


class Readiness:
    """Answers the readiness probe in the threads of the probe server. Every wait is bounded."""

    def __init__(self, engine: Engine, directory: Directory, intake: Intake) -> None:
        self._database = DatabaseReadiness(engine)
        self._directory = directory
        self._intake = intake
        self._draining = threading.Event()

    def drain(self) -> None:
        """Makes the process not ready from now on. A signal handler may call this method."""
        self._draining.set()

    def reason(self) -> str | None:
        """Returns None if the process is ready. Otherwise returns one line that says why not."""
        if self._draining.is_set():
            return "draining"
        if self._directory.problem is not None:
            return self._directory.problem
        if self._intake.oldest_wait_s > 2:
            return "the database does not answer"
        return self._database.reason()
