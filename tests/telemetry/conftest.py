"""Lets a test read the log lines it causes, and restores the logging of the process, which is global."""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from waypost.telemetry import logs

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def log_lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Configures JSON logs, and yields a function that returns the lines written since its last call."""
    root = logging.getLogger()
    before = root.handlers, root.level, sys.excepthook, threading.excepthook
    levels = {
        name: logging.getLogger(name).level
        for name in ("httpx", "httpcore", "uvicorn.access", "sqlalchemy", "rq.worker")
    }
    logs.configure("webhook", "INFO")

    def read() -> list[dict[str, Any]]:
        written = capsys.readouterr()
        assert written.err == ""
        return [json.loads(line) for line in written.out.splitlines()]

    yield read
    root.handlers, sys.excepthook, threading.excepthook = before[0], before[2], before[3]
    root.setLevel(before[1])
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
