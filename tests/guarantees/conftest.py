"""An installation per test, with what most tests start."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from waypost.cli.embedded import EmbeddedPostgres, EmbeddedRedis

from .installation import Installation


@pytest.fixture
def installation(
    tmp_path: Path, own_postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, free_port: Callable[[], int]
) -> Iterator[Installation]:
    """Nothing started yet but the servers."""
    installation = Installation(tmp_path, own_postgres, redis_server, free_port)
    yield installation
    installation.close()


@pytest.fixture
def running(installation: Installation) -> Installation:
    """The simulated Meta, two webhooks and two workers; one number with the ledger's bot."""
    installation.publish()
    for name in ("simulator", "webhook-1", "webhook-2", "worker-1", "worker-2"):
        installation.start(name)
    installation.seed_meta()
    return installation
