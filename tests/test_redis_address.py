"""Tests of the addresses of Redis servers and of Sentinels. A real Sentinel is used."""

import contextlib
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.sentinel import SentinelConnectionPool

from waypost import redis_address
from waypost.dev.embedded import EmbeddedError, redis_binary
from waypost.lanes import job, wake
from waypost.worker import rq_worker

PASSWORD = secrets.token_hex(8)


@pytest.fixture(scope="module")
def binary() -> str:
    """Returns the program of the embedded server, which can also run as a Sentinel."""
    try:
        return str(redis_binary())
    except EmbeddedError as error:
        pytest.skip(str(error))


@contextlib.contextmanager
def _server(folder: Path, binary: str, configuration: str, *flags: str) -> Iterator[None]:
    file = folder / f"{secrets.token_hex(4)}.conf"
    file.write_text(configuration)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([binary, str(file), *flags], cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def sentinel(
    tmp_path: Path, binary: str, free_port: Callable[[], int], wait_for: Callable[..., object]
) -> Iterator[int]:
    """Yields the port of a Sentinel that monitors a primary with a password."""
    primary, port = free_port(), free_port()
    common = f"bind 127.0.0.1\ndir {tmp_path}\n"
    monitoring = f"sentinel monitor main 127.0.0.1 {primary} 1\nsentinel auth-pass main {PASSWORD}\n"
    with (
        _server(tmp_path, binary, f"{common}port {primary}\nrequirepass {PASSWORD}\n"),
        _server(tmp_path, binary, f"{common}port {port}\n{monitoring}", "--sentinel"),
    ):
        wait_for(lambda: _answers(primary, PASSWORD) and _answers(port, None))
        yield port


def _answers(port: int, password: str | None) -> bool:
    with contextlib.closing(redis.Redis(port=port, password=password, socket_timeout=2)) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


def test_the_primary_is_found_by_its_sentinels(sentinel: int) -> None:
    """The primary is found by its Sentinels, even if the first one in the list does not answer."""
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:1,127.0.0.1:{sentinel}/main/1"
    with contextlib.closing(redis_address.connect(url, socket_timeout=2, socket_connect_timeout=2)) as client:
        client.set("key", "value")

        assert client.get("key") == b"value"
        assert client.connection_pool.connection_kwargs["db"] == 1


def test_an_unknown_service_is_a_connection_error(sentinel: int) -> None:
    """An unknown service raises `ConnectionError`, so code that can continue without Redis does so here too."""
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{sentinel}/other"
    with (
        contextlib.closing(redis_address.connect(url, socket_timeout=2)) as client,
        pytest.raises(redis.exceptions.ConnectionError),
    ):
        client.ping()


def test_a_plain_address_is_passed_to_redis() -> None:
    """A plain address is passed to Redis together with its options."""
    client = redis_address.connect("rediss://:word@host:7000/2?ssl_ca_certs=/ca.crt", socket_timeout=3)
    given = client.connection_pool.connection_kwargs

    assert (given["host"], given["port"], given["db"], given["password"]) == ("host", 7000, 2, "word")
    assert (given["ssl_ca_certs"], given["socket_timeout"]) == ("/ca.crt", 3)


@pytest.mark.parametrize(
    "path", ["/run/redis.sock", "/my wörk #1 100%/a?b=c&d.sock", "/%20/redis.sock", '/o\'clock "$x"\\:@[1],/r.sock']
)
def test_the_address_of_a_socket_leads_to_its_path(path: str) -> None:
    """The address of a socket leads to its path, whatever characters the path contains.

    The path is quoted when the address is made, and unquoted when the address is read.
    """
    client = redis_address.connect(redis_address.of_socket(Path(path)))

    assert client.connection_pool.connection_kwargs["path"] == path


def test_a_worker_runs_jobs_by_a_socket_with_a_space_and_an_equals_sign_in_its_path(
    short_folder: Path, binary: str, wait_for: Callable[..., object]
) -> None:
    """A worker runs jobs even if the path of the Redis socket contains a space and an equals sign.

    Redis includes this path in data that RQ requests at its start.
    """
    folder = short_folder / "my r=1"
    folder.mkdir()
    url = redis_address.of_socket(folder / "redis.sock")
    drained: list[int] = []
    job.install(lambda lane: drained.append(lane) or "emptied")  # type: ignore[func-returns-value]
    with (
        _server(folder, binary, f'port 0\nunixsocket "{folder}/redis.sock"\n'),
        contextlib.closing(wake.connect(url)) as client,
        contextlib.closing(rq_worker.connect(url)) as connection,
    ):
        wait_for((folder / "redis.sock").exists)
        wake.enqueue(client, [7])
        rq_worker.LaneWorker(connection, threading.Event()).work(burst=True, max_jobs=1)

    assert drained == [7]


def test_sentinels_are_asked_over_tls() -> None:
    """Sentinels are asked over TLS. They use the primary's certificate authority, but a password of their own."""
    client = redis_address.connect("rediss+sentinel://user:p%40ss@a,[::1]:2/main?sentinel_password=s&ssl_ca_certs=/c")
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]

    assert [(each["host"], each["port"]) for each in asked] == [("a", 26379), ("::1", 2)]
    assert {each["password"] for each in asked} == {"s"}
    assert {each["ssl_ca_certs"] for each in asked} == {pool.connection_kwargs["ssl_ca_certs"]} == {"/c"}
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("user", "p@ss")
    assert "SSL" in pool.connection_class.__name__


@pytest.mark.parametrize(
    "url", ["redis+sentinel://host", "redis+sentinel:///main", "redis+sentinel://h:x/main", "redis+sentinel://h/main/x"]
)
def test_an_invalid_address_is_refused_without_repeating_it(url: str) -> None:
    """An invalid address is refused, and the error does not repeat the address. It may contain a password."""
    with pytest.raises(ValueError, match="Sentinel") as refused:
        redis_address.connect(url.replace("://", "://:secret-word@"))

    assert "secret-word" not in str(refused.value)


def test_lanes_are_woken_and_drained_through_sentinels(sentinel: int) -> None:
    """Lanes are woken and drained through Sentinels, because RQ works with a client that uses Sentinels."""
    url = f"redis+sentinel://:{PASSWORD}@127.0.0.1:{sentinel}/main"
    drained: list[int] = []
    with contextlib.closing(wake.connect(url)) as client, contextlib.closing(rq_worker.connect(url)) as connection:

        def drain(lane: int) -> str:
            drained.extend({lane, *wake.take(client)})
            return "emptied"

        job.install(drain)
        wake.enqueue(client, [3, 5])
        rq_worker.LaneWorker(connection, threading.Event()).work(burst=True, max_jobs=1)

    assert sorted(drained) == [3, 5]
