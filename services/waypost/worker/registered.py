"""Follows the registry's files for a worker and records the numbers in them in the database."""

import threading
from collections.abc import Mapping
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
    """The registry's numbers as they were last read. `follow` reads them again when they change."""

    def __init__(self, registry: Registry[Number], engine: Engine) -> None:
        self._registry = registry
        self._engine = engine
        self._unreadable: str | None = None
        self._recorded: object = None
        self._recorded_snapshot: object = None
        self._hosted = _with_plugins(registry)
        """Numbers whose bot is a plugin. This is asked for at every wake-up, so it is kept for each snapshot."""
        self._outage = DatabaseOutage(
            __name__, began="database is away; numbers are not recorded", ended="numbers are recorded"
        )

    def number(self, phone_number_id: str) -> Number | None:
        """Returns the registry's entry of a number, or None if there is none."""
        return self._registry.current.by_phone_number_id.get(phone_number_id)

    def all(self) -> Mapping[str, Number]:
        """Returns all entries by phone number id. A change of the registry leads to a new mapping."""
        return self._registry.current.by_phone_number_id

    def has_plugins(self) -> bool:
        """Returns whether the bot of any number is a plugin."""
        return bool(self._hosted)

    def problem(self) -> str | None:
        """Returns why the entries may be out of date, or None."""
        if self._unreadable is not None:
            return self._unreadable
        errors = self._registry.current.errors
        return "registry: " + "; ".join(errors) if errors else None

    def follow(self, stop: threading.Event) -> None:
        """Reads changes of the registry every second and records them, until `stop` is set."""
        while True:
            self.refresh()
            self.record()
            if stop.wait(INTERVAL_S):
                return

    def refresh(self) -> None:
        """Reads the files that have changed. If the folder cannot be read, the entries stay as they are."""
        try:
            changed = self._registry.refresh()
        except OSError as error:
            if self._unreadable is None:
                log.warning("the registry cannot be read", reason=type(error).__name__)
            self._unreadable = f"the registry cannot be read: {type(error).__name__}"
            return
        self._unreadable = None
        if changed:
            self._hosted = _with_plugins(self._registry)
            for problem in self._registry.current.errors:
                log.error("registry file cannot be read; its last good content stays in use", problem=problem)
            # No reason to be unready: the file arrives by itself, and the other numbers are served.
            for problem in self._registry.current.without_bot:
                log.warning("the bot of a number has not arrived; its last good bot stays in use", problem=problem)

    def record(self) -> None:
        """Writes the numbers into the database if they have changed. If a write fails, the next call repeats it."""
        snapshot = self._registry.current
        if snapshot is self._recorded_snapshot:
            return
        registered = sorted(
            (number.phone_number_id, number.namespace, number.name, number.waba_id)
            for number in snapshot.by_phone_number_id.values()
        )
        hosted = self._hosted
        if (registered, hosted) == self._recorded:
            self._recorded_snapshot = snapshot
            return
        try:
            with self._engine.begin() as connection:
                numbers.record(connection, registered, hosted=hosted)
        except SQLAlchemyError as error:
            self._outage.failed(error)
        else:
            self._outage.answered()
            self._recorded, self._recorded_snapshot = (registered, hosted), snapshot


def _with_plugins(registry: Registry[Number]) -> frozenset[str]:
    entries = registry.current.by_phone_number_id
    return frozenset(number_id for number_id, number in entries.items() if number.bot_plugin is not None)
