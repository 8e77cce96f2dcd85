"""Tests of PostgreSQL and Redis as child processes. They are durable and leave nothing behind."""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from waypost.dev.embedded import SOCKET_PATH_LIMIT, EmbeddedError, EmbeddedPostgres, EmbeddedRedis, socket_folder


def test_committed_data_survives_a_killed_postgres(own_postgres: EmbeddedPostgres) -> None:
    """Committed data survives SIGKILL of PostgreSQL, because fsync and the write-ahead log are on."""
    with psycopg.connect(own_postgres.url) as connection:
        connection.execute("CREATE TABLE stored AS SELECT 42 AS answer")
    own_postgres.kill()
    assert own_postgres.pid is None

    own_postgres.start()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT answer, current_setting('fsync') FROM stored").fetchone() == (42, "on")


def test_postgres_is_closed_to_other_users(own_postgres: EmbeddedPostgres) -> None:
    """PostgreSQL is closed to other users, and no port is open.

    Everyone who can reach the socket is a superuser. Therefore, other users must not be able to reach it.
    """
    assert stat.S_IMODE(own_postgres.sockets.stat().st_mode) & 0o077 == 0
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_the_data_of_redis_survives_a_graceful_stop(redis_server: EmbeddedRedis) -> None:
    """The data of Redis survives a graceful stop, because the append-only file is on."""
    redis_server.client().set("stored", "42")
    redis_server.stop()
    redis_server.start()

    assert redis_server.client().get("stored") == b"42"


def test_redis_never_evicts(redis_server: EmbeddedRedis) -> None:
    """Redis never evicts, because jobs must not be lost when memory is short."""
    assert redis_server.client().config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


ODD_NAMES = (
    "way post",
    "#1",
    "100%",
    "%20",
    "a?b=c&d",
    "a,b",
    "o'clock",
    '"quoted"',
    "$HOME",
    "back\\slash",
    "a:b@c",
    "wörk 日本",
    "x" * 120,
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_with_an_odd_name_gets_a_socket_with_a_short_and_plain_path(tmp_path: Path, name: str) -> None:
    """If a data folder has an odd name, its sockets are in a separate folder with a short and plain path.

    Each data folder has its own socket folder, which is the same at every start. No parser of addresses can
    misread the path of a socket folder.
    """
    odd = tmp_path / name
    path = str(socket_folder(odd) / ".s.PGSQL.5432")

    assert len(path) <= SOCKET_PATH_LIMIT
    assert re.fullmatch(r"[A-Za-z0-9/._+-]+", path)
    assert socket_folder(odd) == socket_folder(odd)
    assert socket_folder(odd) != socket_folder(odd / "other")


def test_a_folder_with_a_short_and_plain_name_holds_its_sockets_itself(short_folder: Path) -> None:
    """If a data folder has a short and plain name, its sockets are inside this folder.

    In this case, nothing is left in the temporary folder.
    """
    assert socket_folder(short_folder / "data_1.x+y") == short_folder.resolve() / "data_1.x+y"


@pytest.mark.parametrize("temporary", ["t" * 100, "my folder"])
def test_an_odd_temporary_folder_is_not_used(tmp_path: Path, temporary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the temporary folder has an odd name, the sockets are in /tmp instead.

    The path in TMPDIR may be as long or as odd as the path of the data folder.
    """
    (tmp_path / temporary).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / temporary))

    assert socket_folder(tmp_path / "o'clock").parent == Path("/tmp")


@pytest.mark.parametrize("name", ["x" * 60 + "/" + "y" * 60, "my wörk #1 100%/a,b o'clock \"?$HOME"])
def test_both_servers_keep_their_data_in_a_folder_with_an_odd_name(short_folder: Path, name: str) -> None:
    """Both servers keep their data in a folder with an odd name.

    Only the sockets are in a separate folder. This folder is removed when the server stops.
    """
    folder = short_folder / uuid.uuid4().hex[:6] / name
    postgres, redis = EmbeddedPostgres(folder / "postgres"), EmbeddedRedis(folder / "redis")
    try:
        for _ in range(2):
            postgres.start()
            redis.start()
            with psycopg.connect(postgres.url) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS stored (answer int)")
            with contextlib.closing(redis.client()) as client:
                client.incr("starts")
                starts = client.get("starts")
            postgres.stop()
            redis.stop()
    finally:
        postgres.stop()
        redis.stop()

    assert starts == b"2"
    assert (folder / "postgres" / "data" / "PG_VERSION").exists()
    assert postgres.sockets.parent != folder
    assert not postgres.sockets.exists()
    assert not redis.sockets.exists()


def test_a_socket_is_not_put_where_another_user_can_reach_it(tmp_path: Path) -> None:
    """A socket is not put where another user can reach it.

    Another user can guess the name of the socket folder and create a link with this name to any place.
    """
    server = EmbeddedRedis(tmp_path / "o'clock")
    server.sockets.symlink_to(tmp_path)
    try:
        with pytest.raises(EmbeddedError, match="belongs to another user"):
            server.start()
    finally:
        server.sockets.unlink()


def test_a_start_ends_a_server_that_outlived_its_parent(short_folder: Path, wait_for: Callable[..., object]) -> None:
    """A start ends a server that outlived its parent.

    After the parent got SIGKILL, its servers may still be running or ending. The next start must succeed anyway.
    """
    folder = short_folder / f"o{uuid.uuid4().hex[:8]}"
    orphaned = EmbeddedPostgres(folder)
    orphaned.start()
    first = orphaned.pid

    again = EmbeddedPostgres(folder)
    again.start()
    try:
        assert again.pid != first
        wait_for(lambda: orphaned.poll() is not None)
    finally:
        again.stop()


def test_servers_end_when_their_parent_is_killed(short_folder: Path, wait_for: Callable[..., object]) -> None:
    """No server keeps running after its supervisor got SIGKILL."""
    folder = short_folder / f"k{uuid.uuid4().hex[:8]}"
    program = (
        "import sys, time; from pathlib import Path; from waypost.dev.embedded import *;"
        "p, r = EmbeddedPostgres(Path(sys.argv[1]) / 'p'), EmbeddedRedis(Path(sys.argv[1]) / 'r');"
        "p.start(); r.start(); print(p.pid, r.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    wait_for(lambda: not any(map(_is_running, pids)), what="both servers end")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hand PostgreSQL to another user")
def test_postgres_does_not_run_as_root(own_postgres: EmbeddedPostgres) -> None:
    """The embedded PostgreSQL does not run as root, because PostgreSQL refuses to do this."""
    assert own_postgres.pid is not None
    assert Path(f"/proc/{own_postgres.pid}").stat().st_uid != 0
