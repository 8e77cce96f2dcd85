"""Wakes lanes by queuing RQ jobs for lanes that have work.

The jobs are hints. Nothing waits for them or depends on them.
"""

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
"""Time in ms for which a wake-up suppresses others if its job was lost; then the sweeper can wake the lane again."""


MAX_JOBS: Final = 1_000
"""Most jobs in the queue: many for every lane, yet few enough to be done within seconds once workers are back."""

PACE_S: Final = 0.01
"""Seconds between two Redis pipelines with wake-ups of one process; the first after a pause is sent at once."""

LOADED_LANES: Final = 32
LOADED_PACE_S: Final = 0.04
"""Seconds between two Redis pipelines with wake-ups while the workers are behind.

Workers are behind if a pipeline wakes half of all lanes or more, and each of those has a job waiting.
"""


def connect(url: str) -> Redis:
    """Returns a Redis client that never waits long: at most 0.5 s to connect and 1 s for an answer."""
    return redis_address.connect(url, socket_connect_timeout=0.5, socket_timeout=1.0, health_check_interval=15)


def _key(lane: int) -> str:
    return f"waypost:wake:{lane}"


def enqueue(redis: Redis, lanes: Iterable[int]) -> int:
    """Queues one drain job for each lane without a waiting job. Returns the number of queued jobs.

    Raises `redis.RedisError`. Nothing is queued if more than `MAX_JOBS` jobs wait. Otherwise, while no worker
    runs, each lane would get another job in every `WAKE_TTL_MS` until Redis is full. The sweeper later wakes the
    lanes that got no job.

    This function sets a key for the lane. The job deletes the key before it reads the database. If the key is
    already set, a job still waits, and that job will read everything that was committed before this call.
    """
    wanted = sorted(set(lanes))
    with redis.pipeline(transaction=False) as pipe:
        pipe.llen(job.QUEUE_KEY)
        for lane in wanted:
            pipe.set(_key(lane), b"1", nx=True, px=WAKE_TTL_MS)
        waiting, *answers = pipe.execute()
    if waiting > MAX_JOBS:
        return 0
    without_job = [lane for lane, answer in zip(wanted, answers, strict=True) if answer]
    if without_job:
        job.queue(redis).enqueue_many([job.job_for(lane) for lane in without_job])
    return len(without_job)


def acknowledge(redis: Redis, lane: int) -> None:
    """Allows the next wake-up of the lane to queue a new job. The job calls this before it reads the database."""
    redis.delete(_key(lane))


class Waker:
    """Wakes lanes in a thread of its own, so that callers never wait for Redis and get none of its errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pending: set[int] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        self._thread.start()

    def wake(self, lanes: Iterable[int]) -> None:
        """Requests a drain of these lanes. Never raises and never blocks."""
        with self._changed:
            self._pending.update(lanes)
            self._changed.notify()

    def close(self) -> None:
        """Sends the pending wake-ups and stops the thread. Waits for at most two seconds."""
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
            # Under load more lanes gather during the pause. A pipeline per commit, 300 a second, took a tenth of the
            # webhook's time.
            time.sleep(pace_s)
