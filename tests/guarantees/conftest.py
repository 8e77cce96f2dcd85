"""One installation for all of these tests. Processes that a test killed are restarted before the next test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis

from .installation import Installation


@pytest.fixture(scope="session")
def _installation(
    tmp_path_factory: pytest.TempPathFactory, short_folder: Path, free_port: Callable[[], int]
) -> Iterator[Installation]:
    postgres = EmbeddedPostgres(short_folder / "gp")
    redis = EmbeddedRedis(short_folder / "gr")
    postgres.start()
    redis.start()
    installation = Installation(tmp_path_factory.mktemp("installation"), postgres, redis, free_port)
    try:
        installation.publish()
        installation.start("simulator")
        installation.start("webhook-1", "webhook-2", "worker-1", "worker-2")
        yield installation
    finally:
        installation.close()
        redis.stop()
        postgres.stop()


@pytest.fixture
def running(_installation: Installation) -> Installation:
    """Returns an installation that runs and has no waiting work.

    It has a simulator, two webhooks, two workers, and one number with a bot.
    """
    _installation.heal()
    _installation.seed_meta()
    return _installation
