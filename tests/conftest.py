"""Real servers for every test: embedded ones, or those of WAYPOST_DATABASE_URL and WAYPOST_REDIS_URL where set.

A test gets a database of its own, copied from a migrated template, and may ask for a Redis of its own that it may kill.
"""

import asyncio
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis
from waypost.store.connection import database as store_database
from waypost.store.connection import schema

# Hypothesis fails an example that takes longer than 200 ms, which says how busy the machine is and nothing of the code.
hypothesis.settings.register_profile("waypost", deadline=None)
hypothesis.settings.load_profile("waypost")

LONG = ("tests/guarantees/", "tests/operator/test_process", "tests/operator/test_handlers", "tests/dev/test_dev")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first, for pytest's other processes wait for the last one. Else the order is as it was."""

    def is_long(item: pytest.Item) -> bool:
        return item.path.relative_to(config.rootpath).as_posix().startswith(LONG)

    items.sort(key=lambda item: not is_long(item))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The services run on asyncio (uvloop), so the tests do too."""
    return "asyncio"


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a short name, for sockets; pytest's own is too long for them on some machines."""
    folder = Path(tempfile.mkdtemp(prefix="wp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(short_folder: Path) -> Iterator[EmbeddedPostgres | None]:
    """Embedded PostgreSQL; None where WAYPOST_DATABASE_URL names a server. Never kill it: ask for `own_postgres`."""
    if os.environ.get("WAYPOST_DATABASE_URL"):
        yield None
        return
    server = EmbeddedPostgres(short_folder / "pg")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: EmbeddedPostgres | None) -> str:
    """Where databases may be created."""
    return postgres_server.url if postgres_server else os.environ["WAYPOST_DATABASE_URL"]


@pytest.fixture(scope="session")
def redis_url(short_folder: Path) -> Iterator[str]:
    """A Redis shared by the session: never flush it. A test that needs to itself asks for `redis_server`."""
    if url := os.environ.get("WAYPOST_REDIS_URL"):
        yield url
        return
    server = EmbeddedRedis(short_folder / "redis")
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def _template_database(postgres_url: str) -> Iterator[str]:
    name = f"waypost_template_{uuid.uuid4().hex[:12]}"
    _administer(postgres_url, f'CREATE DATABASE "{name}"')
    engine = store_database.connect(_on(postgres_url, name), application="waypost-tests")
    schema.migrate(engine)
    engine.dispose()
    yield name
    _administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(postgres_url: str, _template_database: str) -> Iterator[Engine]:
    """An engine on a fresh, migrated database. Other processes reach it by `database_url`."""
    name = f"waypost_{uuid.uuid4().hex[:12]}"
    _administer(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{_template_database}"')
    engine = store_database.connect(_on(postgres_url, name), application="waypost-tests", pool_size=8)
    yield engine
    engine.dispose()
    _administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database_url(database: Engine) -> str:
    """`postgresql://…` of `database`, for WAYPOST_DATABASE_URL of a child process."""
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """`postgresql://…` of a fresh database without any table."""
    name = f"waypost_{uuid.uuid4().hex[:12]}"
    _administer(postgres_url, f'CREATE DATABASE "{name}"')
    yield _on(postgres_url, name)
    _administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def redis_server(short_folder: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of the test's own: it may be flushed, stopped, killed and started again."""
    server = EmbeddedRedis(short_folder / f"r{uuid.uuid4().hex[:8]}")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def own_postgres(short_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of the test's own, empty: it may be stopped, killed and started again."""
    server = EmbeddedPostgres(short_folder / f"p{uuid.uuid4().hex[:8]}")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a TCP port on loopback that nobody listens on now."""
    return _free_port


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., object]:
    """`wait_for(condition)` polls until the condition is truthy and returns what it gave."""
    return _wait_for


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Awaitable[object]]:
    """`await eventually(condition, deadline_s=120)`: `wait_for` for async tests; the condition is a plain function."""
    return _eventually


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(condition: Callable[[], object], deadline_s: float = 120.0, what: str = "") -> object:
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {deadline_s:.0f} s: {what or getattr(condition, '__name__', condition)}")
        time.sleep(0.02)
    return found


async def _eventually(condition: Callable[[], object], deadline_s: float = 120.0, what: str = "") -> object:
    deadline = time.monotonic() + deadline_s
    while not (found := await asyncio.to_thread(condition)):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {deadline_s:.0f} s: {what or getattr(condition, '__name__', condition)}")
        await asyncio.sleep(0.02)
    return found


def _administer(url: str, statement: str) -> None:
    with psycopg.connect(_on(url), autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement.encode())


def _on(url: str, database: str | None = None) -> str:
    """The same server, for psycopg; another database where one is named."""
    target = make_url(url).set(drivername="postgresql")
    return (target.set(database=database) if database else target).render_as_string(hide_password=False)
