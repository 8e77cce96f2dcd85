"""Keeps the endpoints current with the registry's files, so that numbers and secrets change without a restart."""

import asyncio

import structlog

from waypost.contracts.registry import Registry, Route
from waypost.webhook.endpoints import Endpoints, endpoints

INTERVAL_S = 1.0

log = structlog.get_logger(__name__)


class Directory:
    """Holds the current `endpoints`. A change of the registry replaces them all at once, so readers need no lock."""

    def __init__(self, registry: Registry[Route]) -> None:
        self._registry = registry
        self.endpoints: Endpoints = endpoints(registry.current)
        self.problem: str | None = None
        """Why the registry could not be read the last time, else None; the endpoints then stay as they were."""

    def refresh(self) -> None:
        """Reads the registry once, and replaces the endpoints if the registry has changed."""
        try:
            changed = self._registry.refresh()
        except OSError as error:
            if self.problem is None:
                log.warning("the registry cannot be read", reason=type(error).__name__)
            self.problem = f"the registry cannot be read: {type(error).__name__}"
            return
        self.problem = None
        if changed:
            snapshot = self._registry.current
            self.endpoints = endpoints(snapshot)
            log.info("registry read", numbers=len(snapshot.by_name), apps=len(snapshot.by_app))
            for problem in snapshot.errors:
                log.error("a registry file cannot be read", reason=problem)

    async def follow(self) -> None:
        """Calls `refresh` every second until the task is cancelled.

        `refresh` runs in a thread, because a mounted folder may be slow.
        """
        while True:
            await asyncio.sleep(INTERVAL_S)
            await asyncio.to_thread(self.refresh)
