"""Fixtures that start real servers for the tests.

If WAYPOST_DATABASE_URL or WAYPOST_REDIS_URL is set, the tests use that server instead of an embedded one.

Each test gets its own database, which is copied from a migrated template. A test may also get its own Redis,
and may kill it.
"""

import asyncio
import contextlib
import os
import shutil
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

from tools.faults import marks
from waypost.dev import ports
from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis
from waypost.store.connection import database as store_database
from waypost.store.connection import schema

from .shim import Shim, Target

# By default Hypothesis fails an example that takes longer than 200 ms, which depends on how busy the machine is.
hypothesis.settings.register_profile("waypost", deadline=None)
hypothesis.settings.load_profile("waypost")

LONG_FILES = ("tests/guarantees/", "tests/operator/test_process", "tests/operator/test_handlers", "tests/dev/test_dev")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the longest files first, because pytest's processes wait for the last file.

    Apart from that, the order stays the same.
    """

    def is_long(item: pytest.Item) -> bool:
        return item.path.relative_to(config.rootpath).as_posix().startswith(LONG_FILES)

    items.sort(key=lambda item: not is_long(item))
    marks.check_markers(items)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Returns `figure(name, value, unit="", aim="")`, which records a figure of a row of docs/reliability.md.

    A figure is shown beside the result of the row, and decides nothing. The aim is a text such as "at most 1 s".
    """

    def record(name: str, value: float, unit: str = "", *, aim: str = "") -> None:
        record_property(marks.FIGURE, {"name": name, "value": value, "unit": unit, "aim": aim})

    return record


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Makes the async tests run on asyncio. The services use asyncio too, on uvloop."""
    return "asyncio"


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """Yields a folder with a short name for sockets. On some machines, `tmp_path` is too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="wp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(short_folder: Path) -> Iterator[EmbeddedPostgres | None]:
    """Yields the session's PostgreSQL, or None if WAYPOST_DATABASE_URL is set.

    A test must not kill this server. It can use `own_postgres` instead.
    """
    if os.environ.get("WAYPOST_DATABASE_URL"):
        yield None
        return
    server = EmbeddedPostgres(short_folder / "pg")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: EmbeddedPostgres | None) -> str:
    """Returns the address of the server on which databases are created."""
    return postgres_server.url if postgres_server else os.environ["WAYPOST_DATABASE_URL"]


@pytest.fixture(scope="session")
def redis_url(short_folder: Path) -> Iterator[str]:
    """Yields the address of a Redis that the session shares.

    A test must not flush this Redis. It can use `redis_server` instead.
    """
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
    """Yields an engine on a fresh, migrated database. Other processes reach it by `database_url`."""
    name = f"waypost_{uuid.uuid4().hex[:12]}"
    _administer(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{_template_database}"')
    engine = store_database.connect(_on(postgres_url, name), application="waypost-tests", pool_size=8)
    yield engine
    engine.dispose()
    _administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database_url(database: Engine) -> str:
    """Returns the address of `database`, in the form `postgresql://…`.

    A child process gets it as WAYPOST_DATABASE_URL.
    """
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """Yields the address of a fresh database without any table, in the form `postgresql://…`."""
    name = f"waypost_{uuid.uuid4().hex[:12]}"
    _administer(postgres_url, f'CREATE DATABASE "{name}"')
    yield _on(postgres_url, name)
    _administer(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def redis_server(short_folder: Path) -> Iterator[EmbeddedRedis]:
    """Yields a Redis for this test only. The test may flush, stop, kill and start it again."""
    server = EmbeddedRedis(short_folder / f"r{uuid.uuid4().hex[:8]}")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def own_postgres(short_folder: Path) -> Iterator[EmbeddedPostgres]:
    """Yields an empty PostgreSQL for this test only. The test may stop, kill and start it again."""
    server = EmbeddedPostgres(short_folder / f"p{uuid.uuid4().hex[:8]}")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def shim() -> Iterator[Callable[[Target], Shim]]:
    """Returns `shim(target)`, which puts a TCP proxy before a server. The test makes the proxy fail."""
    with contextlib.ExitStack() as stack:
        yield lambda target: stack.enter_context(Shim(target))


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Returns a function that returns a free TCP port on loopback. Nothing else takes this port."""
    return ports.free_port


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., object]:
    """Returns `wait_for(condition)`. It polls until the condition is truthy, and returns the condition's value."""
    return _wait_for


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Awaitable[object]]:
    """Returns `eventually(condition, deadline_s=240)`, which is `wait_for` for async tests.

    The condition itself is not async.
    """
    return _eventually


def _wait_for(condition: Callable[[], object], deadline_s: float = 240.0, what: str = "") -> object:
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {deadline_s:.0f} s: {what or getattr(condition, '__name__', condition)}")
        time.sleep(0.02)
    return found


async def _eventually(condition: Callable[[], object], deadline_s: float = 240.0, what: str = "") -> object:
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
    """Returns the address in the form for psycopg. If a database is given, the address names that database."""
    target = make_url(url).set(drivername="postgresql")
    return (target.set(database=database) if database else target).render_as_string(hide_password=False)
