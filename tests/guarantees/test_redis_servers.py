"""Nothing is lost when a Redis server refuses writes, or when Sentinels replace it by another."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from waypost.dev.embedded import EmbeddedRedis, redis_binary

from ..ledger import Ledger
from ..traffic import Traffic, percentile
from ..untyped import untyped
from .installation import Installation

pytestmark = pytest.mark.timeout(900)

CONTACTS = [f"1555191{number:04}" for number in range(40)]
WEBHOOKS = ("webhook-1", "webhook-2")
DOWN_AFTER_S = 2.0


class SickRedis(EmbeddedRedis):
    """A Redis that can be made to refuse writes."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--dbfilename", "snapshot", "--save", "1 1"]

    def refuse(self, error: str) -> None:
        """Makes Redis answer each write with this error: it has no memory left, or cannot save its snapshot."""
        with self.client() as client:
            if error == "OOM":
                client.config_set("maxmemory", "1mb")
                return
            (self.folder / "snapshot").unlink(missing_ok=True)
            (self.folder / "snapshot").mkdir()
            with contextlib.suppress(redis.exceptions.ResponseError):  # it may be saving already
                client.bgsave()

    def recover(self, error: str) -> None:
        """Lets Redis accept writes again."""
        with self.client() as client:
            if error == "OOM":
                client.config_set("maxmemory", "0")
                return
            (self.folder / "snapshot").rmdir()
            with contextlib.suppress(redis.exceptions.ResponseError):
                client.bgsave()


@pytest.fixture(scope="module")
def sick(apart: Callable[..., Installation], short_folder: Path) -> tuple[Installation, SickRedis]:
    server = SickRedis(short_folder / "sick")
    running = apart(redis=server)
    running.greet(CONTACTS)
    return running, server


@pytest.mark.fault("S4")
@pytest.mark.slow
@pytest.mark.parametrize("error", ["OOM", "MISCONF"])
def test_a_redis_that_refuses_writes_loses_nothing(
    sick: tuple[Installation, SickRedis], figure: Callable[..., None], error: str
) -> None:
    """Under load Redis answers every write with an error. Deliveries are acknowledged, and messages are answered."""
    running, server = sick
    running.quiesce()
    ledger = Ledger(running)

    def is_refused() -> bool:
        with server.client() as client:
            try:
                client.set("probe", "1")
            except redis.exceptions.RedisError as refusal:
                return error in str(refusal) or "maxmemory" in str(refusal)
        return False

    with Traffic(ledger, CONTACTS, per_second=25, webhooks=WEBHOOKS) as traffic:
        traffic.wait_for_more(50)
        server.refuse(error)
        running.wait(is_refused, what=f"Redis to answer {error}")
        answered, healthy = len(running.sent()), len(traffic.latencies_s)
        traffic.wait_for_more(150)
        during = traffic.latencies_s[healthy:]
        running.wait(lambda: len(running.sent()) >= answered + 60, what="replies during the fault")
        assert is_refused(), "the fault was over too early"
        server.recover(error)
        running.wait(lambda: not is_refused(), what="Redis to accept writes")
        traffic.wait_for_more(50)
    assert traffic.refused() == {}
    assert all(running.running(name) for name in ("worker-1", "worker-2"))
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    figure("acknowledged, p99", percentile(during, 99) * 1000, "ms", aim="at most 1 s")


class Server:
    """A Redis or a Sentinel on a port of loopback."""

    def __init__(self, folder: Path, port: int, *flags: str, **configuration: str) -> None:
        self.port = port
        folder.mkdir()
        lines = [f"bind 127.0.0.1\nport {port}\ndir {folder}\n"]
        lines += [f"{key.replace('_', '-')} {value}\n" for key, value in configuration.items()]
        self._file = folder / "server.conf"
        self._file.write_text("".join(lines))
        self._log = folder / "log"
        self._flags = flags
        self.start()

    def start(self) -> None:
        """Starts the server."""
        with self._log.open("ab") as log:
            command = [str(redis_binary()), str(self._file), *self._flags]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        """Sends SIGKILL, and waits until the process has ended."""
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Yields a client."""
        with contextlib.closing(redis.Redis(port=self.port, socket_timeout=2)) as client:
            yield client

    def role(self) -> str:
        """Returns `master` or `slave`, or "" while the server does not answer."""
        try:
            with self.client() as client:
                return str(client.info("replication")["role"])
        except redis.exceptions.RedisError:
            return ""

    def writes(self) -> int:
        """Returns how many wake-ups of lanes clients have written here."""
        with self.client() as client:
            return int(client.info("commandstats").get("cmdstat_zadd", {}).get("calls", 0))


@pytest.fixture
def sentinels(
    tmp_path: Path, free_port: Callable[[], int], wait_for: Callable[..., object]
) -> Iterator[tuple[str, list[Server]]]:
    """Yields the address of three Sentinels, and a primary with its replica."""
    primary_port = free_port()
    servers = [Server(tmp_path / "primary", primary_port)]
    servers.append(Server(tmp_path / "replica", free_port(), replicaof=f"127.0.0.1 {primary_port}"))
    watchers: list[Server] = []
    try:
        wait_for(lambda: [server.role() for server in servers] == ["master", "slave"])
        for name in ("s1", "s2", "s3"):
            watcher = Server(tmp_path / name, free_port(), "--sentinel")
            watchers.append(watcher)
            wait_for(partial(_answers, watcher))
            with watcher.client() as client:
                untyped(client).execute_command("SENTINEL", "MONITOR", "main", "127.0.0.1", primary_port, "2")
                for key, value in (("down-after-milliseconds", int(DOWN_AFTER_S * 1000)), ("failover-timeout", 10000)):
                    untyped(client).execute_command("SENTINEL", "SET", "main", key, value)

        wait_for(lambda: all(map(_is_complete, watchers)), what="the Sentinels to know each other")
        hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in watchers)
        yield f"redis+sentinel://{hosts}/main", servers
    finally:
        for server in (*watchers, *servers):
            server.kill()


def _is_complete(sentinel: Server) -> bool:
    """Returns whether a Sentinel knows the other two and the replica."""
    with sentinel.client() as client:
        found = untyped(client).execute_command("SENTINEL", "MASTER", "main")
        state = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    facts = {_text(key): _text(value) for key, value in state.items()}
    return (facts["num-other-sentinels"], facts["num-slaves"]) == ("2", "1")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _answers(server: Server) -> bool:
    with server.client() as client:
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError:
            return False


@pytest.mark.fault("S5")
@pytest.mark.slow
def test_a_failover_by_sentinels_loses_nothing(
    apart: Callable[..., Installation], sentinels: tuple[str, list[Server]], figure: Callable[..., None]
) -> None:
    """The primary gets SIGKILL under load, and the Sentinels promote its replica.

    Messages are answered all the time. Webhooks and workers go on with the new primary without a restart, and they
    stay there when the old one comes back.
    """
    url, (primary, replica) = sentinels
    running = apart(WAYPOST_REDIS_URL=url)
    running.greet(CONTACTS)
    running.quiesce()
    ledger = Ledger(running)
    with Traffic(ledger, CONTACTS, per_second=20, webhooks=WEBHOOKS) as traffic:
        traffic.wait_for_more(50)
        assert primary.writes() > 0
        began = time.monotonic()
        primary.kill()
        running.wait(lambda: replica.role() == "master", what="the replica to be promoted")
        promoted_s = time.monotonic() - began
        writes = replica.writes()
        running.wait(lambda: replica.writes() > writes, what="wake-ups to reach the new primary")
        resumed_s = time.monotonic() - began
        primary.start()
        running.wait(lambda: primary.role() == "slave", what="the old primary to follow the new one")
        writes = replica.writes()
        traffic.wait_for_more(100)
        running.wait(lambda: replica.writes() > writes, what="wake-ups to stay at the new primary")
    assert traffic.refused() == {}
    assert all(running.running(name) for name in ("worker-1", "worker-2"))
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    figure("promoted after", promoted_s, "s")
    figure("first write at the new primary after", resumed_s, "s", aim=f"at most {DOWN_AFTER_S + 5:.0f} s")
    figure("acknowledged, p99", percentile(traffic.latencies_s, 99) * 1000, "ms", aim="at most 1 s")
