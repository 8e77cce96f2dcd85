"""Provides a registry with one number, and a webhook that serves it: in this process, or as processes of its own."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from .service import Process, Webhook, publish_number, serving


@pytest.fixture
def registry_dir(tmp_path: Path) -> Path:
    """Return a registry that holds the one number `team-a/support`."""
    folder = tmp_path / "registry"
    publish_number(folder)
    return folder


@pytest.fixture
async def webhook(anyio_backend: str, database: Engine, registry_dir: Path) -> AsyncIterator[Webhook]:
    """Run the application over ASGI, on a fresh database."""
    async with serving(database, registry_dir) as service:
        yield service


@pytest.fixture
def start_webhook(
    tmp_path: Path, registry_dir: Path, free_port: Callable[[], int], wait_for: Callable[..., object]
) -> Iterator[Callable[..., Process]]:
    """Return `start_webhook(database_url, port=…)`, which starts a webhook process and returns when it is ready."""
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
