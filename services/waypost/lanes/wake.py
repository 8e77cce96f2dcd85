"""Wakes lanes by queuing RQ jobs for lanes that have work.

The jobs are hints. Nothing waits for them or depends on them.
"""

import threading
import time
from collections.abc import Iterable
from typing import Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from waypost import redis_address
from waypost.lanes import foreign, job
from waypost.lanes.foreign import WOKEN_KEY
from waypost.lanes.job_check import Refusal, lane_of
from waypost.store.tables import LANES
from waypost.telemetry import metrics
from waypost.telemetry.outage import Outage

__all__ = ["SHARE", "WOKEN_KEY", "Waker", "connect", "enqueue", "forget", "take", "take_at_once"]

SHARE: Final = 8
"""Most lanes that a worker takes at once, so that several workers share what is woken together."""

PACE_S: Final = 0.01
"""Seconds between two Redis pipelines with wake-ups of one process; the first after a pause is sent at once."""

LOADED_LANES: Final = 32
LOADED_PACE_S: Final = 0.04
"""Seconds between two Redis pipelines with wake-ups while the workers are behind.

Workers are behind if a pipeline wakes half of all lanes or more, and each of those waits already.
"""


def connect(url: str) -> Redis:
    """Returns a Redis client that never waits long: at most 0.5 s to connect and 1 s for an answer."""
    return redis_address.connect(url, socket_connect_timeout=0.5, socket_timeout=1.0, health_check_interval=15)


def enqueue(redis: Redis, lanes: Iterable[int]) -> int:
    """Adds lanes to the lanes that have work. Returns how many of them were not waiting already.

    If no job waits, the function queues one job, however many lanes there are. A worker that begins a job or
    already runs one takes the lanes that were woken first (`take`). The worker takes a lane before it reads the
    database. So if a lane waits already, the worker will also read everything that was committed before this
    call. Raises `redis.RedisError`.
    """
    return foreign.repaired(redis, lambda: _enqueue(redis, sorted(set(lanes))))


def _enqueue(redis: Redis, wanted: list[int]) -> int:
    now = time.time()
    with redis.pipeline(transaction=False) as pipe:
        # A lane keeps its place, unless another program gave it a time in the future.
        pipe.zadd(WOKEN_KEY, dict.fromkeys(map(str, wanted), now), lt=True)
        pipe.llen(job.QUEUE_KEY)
        added, waiting = pipe.execute()
    if not waiting and wanted:
        job.queue(redis).enqueue_many([job.job_for(wanted[0])])
    return int(added)


def take(redis: Redis, *, wait_s: float = 0.0) -> list[int]:
    """Takes the lanes that were woken first, at most `SHARE`. If there is none, waits up to `wait_s` seconds for one.

    If more lanes are left and no job waits, queues a job for another worker. If another program wrote into the set of
    lanes, or replaced it or the queue, removes what it wrote and returns all lanes. Raises `redis.RedisError`.
    """
    for is_last in (False, True):
        try:
            with foreign.bounded(redis, WOKEN_KEY):
                return _take(redis, wait_s)
        except _ForeignWakeUp:
            foreign.count(Refusal.WAKE_UP)
            redis.unlink(WOKEN_KEY)
        except ResponseError:
            if not foreign.repair(redis):  # another process repaired it, or Redis refuses for a reason of its own
                if is_last:
                    raise
                continue
        break
    return list(range(LANES))


class _ForeignWakeUp(Exception):
    """Raised for a wake-up that names no lane. Lanes that were taken with it would be forgotten."""


def _take(redis: Redis, wait_s: float) -> list[int]:
    with redis.pipeline(transaction=False) as pipe:
        pipe.zpopmin(WOKEN_KEY, SHARE)
        pipe.zcard(WOKEN_KEY)
        pipe.llen(job.QUEUE_KEY)
        popped, left, waiting = pipe.execute()
    if not popped and wait_s:
        first = redis.bzpopmin(WOKEN_KEY, timeout=wait_s)
        return _lanes([first[1]] if first else [])
    lanes = _lanes([member for member, _ in popped])
    if left and not waiting:
        job.queue(redis).enqueue_many([job.job_for(lanes[0])])
    return lanes


def _lanes(members: list[object]) -> list[int]:
    lanes = [lane for lane in map(lane_of, members) if lane is not None]
    if len(lanes) < len(members):
        raise _ForeignWakeUp
    return lanes


def take_at_once(redis: Redis) -> list[int]:
    """Takes lanes as `take` does, for a drain that already runs. Returns no lanes while Redis is away."""
    try:
        return take(redis)
    except RedisError:
        return []


def forget(redis: Redis, lane: int) -> None:
    """Deletes a key of this lane, so that webhooks of version 0.1 can wake the lane again.

    These webhooks suppress wake-ups while the key exists. This function can be removed once no installation is
    upgraded from a version whose webhooks set the key.
    """
    redis.delete(f"waypost:wake:{lane}")


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
