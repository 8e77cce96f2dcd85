"""Bringing home: a number that is registered late takes over the events that came for it before."""

import asyncio

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.store import inbox
from waypost.webhook.directory import Directory
from waypost.webhook.endpoints import Endpoints

INTERVAL_S = 1.0
WRITER = 0
"""Of the daily counts; it is seldom at work."""

log = structlog.get_logger(__name__)


class Adoption:
    """Looks for such events whenever the registry has changed, and after a start."""

    def __init__(self, engine: Engine, directory: Directory) -> None:
        self._engine = engine
        self._directory = directory
        self._done_for: Endpoints | None = None

    async def follow(self) -> None:
        """Look every second whether there is anything to do, until cancelled."""
        while True:
            current = self._directory.endpoints
            if current is not self._done_for:
                try:
                    await asyncio.to_thread(self.run, current)
                    self._done_for = current
                except SQLAlchemyError as error:
                    log.debug("events of late numbers wait for the database", reason=type(error).__name__)
            await asyncio.sleep(INTERVAL_S)

    def run(self, endpoints: Endpoints) -> None:
        """Do it for all numbers of these endpoints. Raises `SQLAlchemyError`; may be repeated."""
        known = {
            (endpoint.app_id, number_id)
            for endpoint in endpoints.values()
            for signer in endpoint.signers
            for number_id in signer.numbers
        }
        with self._engine.connect() as connection:
            strays = inbox.strays(connection)
        for app_id, number_id in strays:
            taken = 1 if (app_id, number_id) in known else 0
            while taken:
                with self._engine.begin() as connection:
                    taken = inbox.adopt(connection, app_id=app_id, number_id=number_id, writer=WRITER)
                if taken:
                    log.info("events from before the registration are to be replayed", number=number_id, events=taken)
