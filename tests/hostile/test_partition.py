"""Meta's limits hold whatever is cut off, however many processes there are, and whatever a pod's clock says.

Real workers send to the simulated Meta, which counts what it accepts. It accepts more than the limit, so that only
the workers keep it.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis

from ..guarantees.installation import NUMBER, Installation

LIMIT = 80
CONTACTS = 120
ROWS = 4 * CONTACTS
"""Six seconds of sending at the limit."""

MOST = 110
"""Most messages that Meta may count in a second. A busy machine delays calls, which makes others look crowded.

Tests in tests/sending use the database's own clock to prove that the limits never grant more than 80. Processes that
are cut off and grant themselves starts send 119 or more.
"""

TEN = tuple(f"worker-{number}" for number in range(11, 21))


class Partition:
    """An installation with two Redis servers, so that one worker can lose its own. Its number sends 80 a second."""

    def __init__(self, running: Installation, redis: EmbeddedRedis, other_redis: EmbeddedRedis) -> None:
        self.running = running
        self.redis = redis
        self.other_redis = other_redis
        self._batches = 0

    def start(self, *names: str, **environment: str) -> None:
        """Starts workers with these variables beside those of all processes."""
        for name in names:
            self.running.environments[name] = environment
        self.running.start(*names)

    def queue(self) -> str:
        """Queues the rows at one moment. Returns the text of their messages."""
        self._batches += 1
        said = f"batch {self._batches}"
        with self.running.engine.begin() as connection:
            connection.execute(
                text("""
                    INSERT INTO outbox (number_id, conversation_id, body)
                    SELECT number_id, id, CAST(:body AS jsonb)
                    FROM conversation, generate_series(1, :times) WHERE number_id = :number
                """),
                {
                    "body": json.dumps({"type": "text", "text": {"body": said}}),
                    "times": ROWS // CONTACTS,
                    "number": NUMBER,
                },
            )
        return said

    def until_sent(self, said: str, count: int = ROWS) -> list[float]:
        """Waits until `count` messages with this text are sent. Returns when Meta accepted each of them, sorted."""
        self.running.wait(lambda: self._sent(said) >= count, what=f"{count} messages sent")
        return sorted(float(str(sent["time"])) for sent in self.running.sent() if sent["text"] == said)

    def _sent(self, said: str) -> int:
        # The database is asked, because the simulator would be late for messages while it lists them.
        with self.running.engine.connect() as connection:
            count = text("SELECT count(*) FROM outbox WHERE state = 'sent' AND body -> 'text' ->> 'body' = :said")
            return int(connection.execute(count, {"said": said}).scalar_one())


@pytest.fixture(scope="module")
def _partition(
    tmp_path_factory: pytest.TempPathFactory, short_folder: Path, free_port: Callable[[], int]
) -> Iterator[Partition]:
    postgres = EmbeddedPostgres(short_folder / "hp")
    servers = (EmbeddedRedis(short_folder / "hr1"), EmbeddedRedis(short_folder / "hr2"))
    for server in (postgres, *servers):
        server.start()
    running = Installation(tmp_path_factory.mktemp("partition"), postgres, servers[0], free_port)
    try:
        running.publish()
        running.start("simulator")
        running.start("webhook-1", "worker-1")
        running.seed_meta(sent_after_s=None, delivered_after_s=None)
        running.greet(f"1555720{number:04}" for number in range(CONTACTS))
        running.quiesce()
        running.terminate("worker-1")
        running.publish(messages_per_second=LIMIT)
        yield Partition(running, *servers)
    finally:
        running.close()
        for server in (*servers, postgres):
            server.stop()


@pytest.fixture
def partition(_partition: Partition) -> Iterator[Partition]:
    """Yields an installation without workers, in which both Redis servers run and nothing waits."""
    for redis in (_partition.redis, _partition.other_redis):
        redis.start()
    yield _partition
    for name in ("worker-2", "worker-3", *TEN):
        if name in _partition.running.environments and _partition.running.running(name):
            _partition.running.kill(name)


def fullest_second(times: list[float]) -> int:
    """Returns the most messages that any second contains."""
    return max(sum(first <= time < first + 1 for time in times[index:]) for index, first in enumerate(times))


def per_second(times: list[float]) -> float:
    """Returns the messages per second from the first to the last."""
    return (len(times) - 1) / (times[-1] - times[0])


def assert_limit_holds(times: list[float], figure: Callable[..., None], what: str) -> None:
    """Asserts that each message was sent once and within the limit. Records that and the rate in the long run."""
    figure(f"limit 80/s, {what}: fullest second", fullest_second(times), "messages", aim=f"at most {LIMIT}")
    figure(f"limit 80/s, {what}: long run", round(per_second(times), 1), "messages/s", aim=f"at least {LIMIT * 0.9}")
    assert len(times) == ROWS
    assert fullest_second(times) <= MOST


@pytest.mark.fault("P6")
def test_a_pod_whose_clock_is_ahead_gets_no_more_than_its_part(
    partition: Partition, figure: Callable[..., None]
) -> None:
    """A worker whose clock is 31 s ahead shares the limit with the others, though Redis is full of garbage.

    The limits use no clock of a process, and no key of Redis.
    """
    with partition.redis.client() as client:
        client.set(f"waypost:rate:{{{NUMBER}}}", "garbage")
        client.set("waypost:senders", "garbage")
    ahead = os.pathsep.join([str(Path(__file__).parent / "clock_ahead"), partition.running.environment["PYTHONPATH"]])
    partition.start("worker-2")
    partition.start("worker-3", PYTHONPATH=ahead)
    times = partition.until_sent(partition.queue())
    assert_limit_holds(times, figure, "one of two pods 31 s ahead")
    with partition.redis.client() as client:
        assert client.get("waypost:senders") == b"garbage"
        assert not [key for key in client.scan_iter("waypost:rate:*") if key != f"waypost:rate:{{{NUMBER}}}".encode()]


def test_one_of_two_workers_loses_redis(partition: Partition, figure: Callable[..., None]) -> None:
    """G6: the limit holds when one of two workers is cut off from Redis while both send."""
    partition.start("worker-2")
    partition.start("worker-3", WAYPOST_REDIS_URL=partition.other_redis.url)
    said = partition.queue()
    partition.until_sent(said, ROWS // 4)
    partition.other_redis.kill()
    assert_limit_holds(partition.until_sent(said), figure, "one of two loses Redis")


def test_all_workers_lose_redis(partition: Partition, figure: Callable[..., None]) -> None:
    """G6: the limit holds, and sends go on at the full rate, when all workers are cut off from Redis."""
    partition.start("worker-2", "worker-3")
    said = partition.queue()
    partition.until_sent(said, ROWS // 4)
    partition.redis.kill()
    assert_limit_holds(partition.until_sent(said), figure, "all lose Redis")


def test_ten_workers_start_without_redis(partition: Partition, figure: Callable[..., None]) -> None:
    """G6: ten workers that have never reached Redis share the limit, though none of them can count the others."""
    partition.redis.kill()
    partition.start(*TEN)
    assert_limit_holds(partition.until_sent(partition.queue()), figure, "ten start without Redis")


@pytest.mark.fault("P3")
def test_a_suspended_worker_does_not_make_its_late_calls_at_once(
    partition: Partition, figure: Callable[..., None]
) -> None:
    """A worker that was suspended for a second asks for new starts, because others have used the time since."""
    partition.start("worker-2", "worker-3")
    said = partition.queue()
    sent = len(partition.until_sent(said, ROWS // 4))
    os.kill(partition.running.pid("worker-3"), signal.SIGSTOP)
    partition.until_sent(said, sent + LIMIT)
    os.kill(partition.running.pid("worker-3"), signal.SIGCONT)
    assert_limit_holds(partition.until_sent(said), figure, "one of two suspended")
