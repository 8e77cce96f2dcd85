"""Assigns events to a number that was registered after they had arrived."""

import asyncio

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import inbox
from waypost.webhook.directory import Directory
from waypost.webhook.endpoints import Endpoints

INTERVAL_S = 1.0
WRITER = 0
"""The writer under which daily counts are moved; adoptions are rare, so all processes share it."""

log = structlog.get_logger(__name__)


class Adoption:
    """Looks for events of numbers that were registered later, and assigns the events to these numbers.

    It looks after the process starts and whenever the registry has changed.
    """

    def __init__(self, engine: Engine, directory: Directory) -> None:
        self._engine = engine
        self._directory = directory
        self._adopted_for: Endpoints | None = None

    async def follow(self) -> None:
        """Calls `adopt` after each change of the registry, until the task is cancelled.

        The registry is checked for a change every second.
        """
        while True:
            current = self._directory.endpoints
            if current is not self._adopted_for:
                try:
                    await asyncio.to_thread(self.adopt, current)
                    self._adopted_for = current
                except SQLAlchemyError as error:
                    log.debug("events of late numbers wait for the database", reason=type(error).__name__)
            await asyncio.sleep(INTERVAL_S)

    def adopt(self, endpoints: Endpoints) -> None:
        """Assigns earlier events to each number of these endpoints. Raises `SQLAlchemyError`.

        It is safe to repeat the call.
        """
        registered = {
            (endpoint.app_id, number_id)
            for endpoint in endpoints.values()
            for signer in endpoint.signers
            for number_id in signer.numbers
        }
        with self._engine.connect() as connection:
            unregistered = inbox.unregistered_numbers(connection)
        for app_id, number_id in unregistered:
            taken = 1 if (app_id, number_id) in registered else 0
            while taken:
                with self._engine.begin() as connection:
                    taken = inbox.adopt(connection, app_id=app_id, number_id=number_id, writer=WRITER)
                if taken:
                    log.info("events from before the registration are to be replayed", number=number_id, events=taken)
