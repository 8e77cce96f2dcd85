"""Waking lanes: tell RQ that a lane has work. Hints only; nothing waits for them and nothing depends on them."""

import threading
import time
from collections.abc import Iterable
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from waypost import redis_address
from waypost.lanes import job
from waypost.telemetry import metrics
from waypost.telemetry.outage import Outage

WAKE_TTL_MS: Final = 5_000
"""How long a wake-up whose job got lost keeps others from being sent; the sweeper tries again after it."""


MOST_JOBS: Final = 1_000
"""Jobs in the queue: enough for every lane many times over, and read within seconds once workers are back."""

PACE_S: Final = 0.01
"""Seconds between two pipelines of one process; the first wake-up after a pause goes out at once."""

LOADED_LANES: Final = 32
LOADED_PACE_S: Final = 0.04
"""The same when half of all lanes had been asked for and each had a job waiting: workers are behind, not idle."""


def connect(url: str) -> Redis:
    """A Redis client whose every wait is bounded: 0.5 s to connect, 1 s for an answer."""
    return redis_address.connect(url, socket_connect_timeout=0.5, socket_timeout=1.0, health_check_interval=15)


def _key(lane: int) -> str:
    return f"waypost:wake:{lane}"


def enqueue(redis: Redis, lanes: Iterable[int]) -> int:
    """Queue one drain job for each lane that has none waiting; returns how many. Raises `redis.RedisError`.

    None are queued behind `MOST_JOBS`: without workers each lane would get another one with every `WAKE_TTL_MS`, until
    Redis is full. The sweeper wakes what is left out.

    The key is set here and deleted by the job before it reads the database, so a lane whose key is already set will
    still be read after whatever was committed before this call.
    """
    asked = sorted(set(lanes))
    with redis.pipeline(transaction=False) as pipe:
        pipe.llen(job.QUEUE_KEY)
        for lane in asked:
            pipe.set(_key(lane), b"1", nx=True, px=WAKE_TTL_MS)
        waiting, *answers = pipe.execute()
    if waiting > MOST_JOBS:
        return 0
    fresh = [lane for lane, answer in zip(asked, answers, strict=True) if answer]
    if fresh:
        job.queue(redis).enqueue_many([job.job_for(lane) for lane in fresh])
    return len(fresh)


def acknowledge(redis: Redis, lane: int) -> None:
    """From here on a new wake-up of the lane queues a new job. Called by the job before it reads."""
    redis.delete(_key(lane))


class Waker:
    """Wakes lanes from a thread of its own, so that the caller never waits for Redis and never sees it fail."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pending: set[int] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def wake(self, lanes: Iterable[int]) -> None:
        """Ask for a drain of these lanes soon. Never raises and never blocks."""
        with self._changed:
            self._pending.update(lanes)
            self._changed.notify()

    def close(self) -> None:
        """Send what is pending and stop; waits at most two seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        outage = Outage(
            __name__, began="redis is away; the sweeper will find the events", ended="redis is back", warns=True
        )
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    return
                lanes, self._pending = self._pending, set()
            pace_s = PACE_S
            try:
                sent = enqueue(self._redis, lanes)
            except RedisError as error:
                metrics.wakeups_total.labels(result="failed").inc(len(lanes))
                outage.failed(error)
            else:
                metrics.wakeups_total.labels(result="queued").inc(sent)
                metrics.wakeups_total.labels(result="joined").inc(len(lanes) - sent)
                outage.answered()
                if not sent and len(lanes) >= LOADED_LANES:
                    pace_s = LOADED_PACE_S
            # Under load lanes gather meanwhile; a pipeline per commit, 300 a second, took a tenth of the webhook.
            time.sleep(pace_s)
