"""What is away for a while is told of twice: when it goes and when it comes back."""

import logging
from typing import Any

import structlog


class Outage:
    """Of one thing, as one part of a process sees it; from one thread at a time.

    Without `warns` the beginning is no warning: where readiness or another part warns of the same thing, one is enough.
    """

    def __init__(self, logger: str, *, began: str, ended: str, warns: bool = False) -> None:
        self._log = structlog.get_logger(logger)
        self._began = began
        self._ended = ended
        self._level = logging.WARNING if warns else logging.INFO
        self._lasts = False

    def failed(self, error: Exception, **facts: Any) -> None:
        """It did not answer. Only the first time is told, by the error's class: its text may quote data."""
        if not self._lasts:
            self._log.log(self._level, self._began, error=type(error).__name__, **facts)
        self._lasts = True

    def answered(self) -> None:
        """It did."""
        if self._lasts:
            self._log.info(self._ended)
        self._lasts = False
