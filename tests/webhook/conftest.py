"""Fixtures: a registry with one number, and a webhook that serves it in this process or in its own processes."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from .service import Process, Webhook, publish_number, serving


@pytest.fixture
def registry_dir(tmp_path: Path) -> Path:
    """Returns a registry that contains only the number `team-a/support`."""
    folder = tmp_path / "registry"
    publish_number(folder)
    return folder


@pytest.fixture
async def webhook(anyio_backend: str, database: Engine, registry_dir: Path) -> AsyncIterator[Webhook]:
    """Runs the application over ASGI, on a fresh database."""
    async with serving(database, registry_dir) as service:
        yield service


@pytest.fixture
def start_webhook(
    tmp_path: Path, registry_dir: Path, free_port: Callable[[], int], wait_for: Callable[..., object]
) -> Iterator[Callable[..., Process]]:
    """Yields `start_webhook(database_url, port=…)`, which starts a webhook process.

    `start_webhook` returns when the process is ready.
    """
    started: list[Process] = []

    def start(database_url: str, *, port: int | None = None, **more: str) -> Process:
        log = tmp_path / f"webhook-{len(started)}.log"
        process = Process.start(
            database_url, registry_dir, port=port or free_port(), probe_port=free_port(), log=log, **more
        )
        started.append(process)
        wait_for(process.is_up, what="the webhook to be ready")
        return process

    yield start
    for process in started:
        process.kill()
