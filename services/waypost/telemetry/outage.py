"""Logs an outage twice: when it begins and when it ends."""

import logging
from typing import Any

import structlog


class Outage:
    """Tracks the outages of one dependency for one part of a process. Use it in one thread at a time.

    `began` and `ended` are the texts of the two log lines. Without `warns`, the first line is logged as info. Use
    this if readiness or another part of the process already warns of the outage.
    """

    def __init__(self, logger: str, *, began: str, ended: str, warns: bool = False) -> None:
        self._log = structlog.get_logger(logger)
        self._began = began
        self._ended = ended
        self._level = logging.WARNING if warns else logging.INFO
        self._ongoing = False

    def failed(self, error: Exception, **facts: Any) -> None:
        """Records a failure. Only the first failure of an outage is logged.

        The log line has the error's class but not its text, because the text may quote data.
        """
        if not self._ongoing:
            self._log.log(self._level, self._began, error=type(error).__name__, **facts)
        self._ongoing = True

    def answered(self) -> None:
        """Records a success, which ends an outage."""
        if self._ongoing:
            self._log.info(self._ended)
        self._ongoing = False
