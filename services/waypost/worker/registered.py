"""The numbers this worker answers for: follows the registry's files and records what they name in the database."""

import threading
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.contracts.registry import Number, Registry
from waypost.store import numbers
from waypost.store.connection.outage import DatabaseOutage

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0


class RegisteredNumbers:
    """`number` answers from what was last read; `follow` keeps that up to date."""

    def __init__(self, registry: Registry[Number], engine: Engine) -> None:
        self._registry = registry
        self._engine = engine
        self._unreadable: str | None = None
        self._recorded: object = None
        self._outage = DatabaseOutage(
            __name__, began="database is away; numbers are not recorded", ended="numbers are recorded"
        )

    def number(self, phone_number_id: str) -> Number | None:
        """What the registry says of a number, None if it does not name it."""
        return self._registry.current.by_phone_number_id.get(phone_number_id)

    def problem(self) -> str | None:
        """Why what is known may be out of date, or None."""
        if self._unreadable is not None:
            return self._unreadable
        errors = self._registry.current.errors
        return "registry: " + "; ".join(errors) if errors else None

    def follow(self, stop: threading.Event) -> None:
        """Look every second, until `stop` is set."""
        while True:
            self.refresh()
            self.record()
            if stop.wait(INTERVAL_S):
                return

    def refresh(self) -> None:
        """Read what has changed. A folder that cannot be read leaves what is known, and is looked at again."""
        try:
            changed = self._registry.refresh()
        except OSError as error:
            if self._unreadable is None:
                log.warning("the registry cannot be read", reason=type(error).__name__)
            self._unreadable = f"the registry cannot be read: {type(error).__name__}"
            return
        self._unreadable = None
        if changed:
            for problem in self._registry.current.errors:
                log.error("registry file cannot be read; its last good content stays in use", problem=problem)

    def record(self) -> None:
        """Write the numbers into the database, unless they are there already; what fails is tried at the next look."""
        entries = sorted(
            (number.phone_number_id, number.namespace, number.name, number.waba_id)
            for number in self._registry.current.by_phone_number_id.values()
        )
        if entries == self._recorded:
            return
        try:
            with self._engine.begin() as connection:
                numbers.record(connection, entries)
        except SQLAlchemyError as error:
            self._outage.failed(error)
        else:
            self._outage.answered()
            self._recorded = entries
