"""One installation for all of these tests. Processes that a test killed are restarted before the next test."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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


WHOLE = ("webhook-1", "webhook-2", "worker-1", "worker-2")


@pytest.fixture(scope="module")
def apart(
    tmp_path_factory: pytest.TempPathFactory, short_folder: Path, free_port: Callable[[], int]
) -> Iterator[Callable[..., Installation]]:
    """Returns a function that makes an installation with servers of its own, which its test may break.

    `start` names the processes that run from the beginning, beside the simulator. `prepare` may change the
    installation before any process starts. `environment` is added to the variables of all processes.
    """
    with ExitStack() as stack:

        def make(
            *,
            start: tuple[str, ...] = WHOLE,
            postgres: EmbeddedPostgres | None = None,
            redis: EmbeddedRedis | None = None,
            prepare: Callable[[Installation], None] = lambda _installation: None,
            **environment: str,
        ) -> Installation:
            name = uuid.uuid4().hex[:6]
            servers = (
                postgres or EmbeddedPostgres(short_folder / f"p{name}"),
                redis or EmbeddedRedis(short_folder / f"r{name}"),
            )
            for server in servers:
                stack.callback(server.stop)
                server.start()
            installation = Installation(tmp_path_factory.mktemp(name), *servers, free_port)
            stack.callback(installation.close)
            # Long, because these tests run beside faults that slow a machine down, and a late turn counts as failed.
            installation.environment.update({"WAYPOST_TURN_TIMEOUT_S": "10", **environment})
            prepare(installation)
            installation.publish()
            installation.start("simulator")
            installation.start(*start)
            installation.seed_meta()
            return installation

        yield make
