"""An API server in memory for each test, and an operator in this process that really watches it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .apiserver import ApiServer
from .running import Fleet


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An API server that holds nothing."""
    server = ApiServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fleet(api: ApiServer, tmp_path: Path) -> Iterator[Fleet]:
    """Starts operators with reconcilers that only take notes; whatever still runs at the end is stopped."""
    made = Fleet(api, api.kubeconfig(tmp_path))
    yield made
    made.close()
