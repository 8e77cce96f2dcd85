"""Drains lanes in this process.

RQ's jobs name the lanes to drain. While Redis is away, the database names them.
"""

import threading
import time
from collections.abc import Callable, Collection
from typing import Final

import structlog
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.lanes import job, wake
from waypost.store import claims
from waypost.store.connection.outage import DatabaseOutage
from waypost.telemetry import metrics
from waypost.worker.rq_worker import LaneWorker
from waypost.worker.rq_worker import connect as connect_rq

log = structlog.get_logger(__name__)

DIRECT_LOOK_S: Final = 0.25
"""Interval in seconds at which a worker itself looks for due lanes while Redis is away."""

JOB_S: Final = job.JOB_TIMEOUT_S / 3
"""Time in seconds after which a job ends, and the next one goes on."""

LINGER_S: Final = 0.05
"""Time in seconds that a job waits for another lane before it ends.

A job costs RQ about 70 calls of Redis and 5 ms of processor time, which is more than a drain. With some 20 deliveries
a second or more, a job therefore stays and takes the lanes that are woken.
"""

DATABASE_AWAY: Final = "database away"
FAILED: Final = "failed"

DrainLanes = Callable[[Collection[int], Callable[[], Collection[int]]], str]
"""Drains lanes, and those that its second argument returns; returns the result (see `Drain.run`)."""


class LaneWork:
    """Calls `drain(lanes)` for lanes that have work, in the thread that called `run`."""

    def __init__(
        self,
        engine: Engine,
        redis: Redis,
        redis_url: str,
        drain: DrainLanes,
        stop: threading.Event,
        *,
        on_lanes: Callable[[Collection[int]], None] = lambda _lanes: None,
    ) -> None:
        """Creates the loop. `redis` has short time-outs, and RQ waits for jobs on its own connection to `redis_url`.

        `on_lanes(lanes)` is called for all lanes that have work, before they are drained.
        """
        self._engine = engine
        self._redis = redis
        self._redis_url = redis_url
        self._drain = drain
        self._stop = stop
        self._on_lanes = on_lanes
        self._apart: set[int] = set()
        """Lanes that are drained one at a time, because a drain of them ended by a defect."""
        self._outage = DatabaseOutage(
            __name__, began="database is away; no lane is drained", ended="lanes are drained again"
        )

    def run(self) -> None:
        """Works until `stop` is set. A drain that is running is finished first."""
        job.install(self.job)
        while not self._stop.is_set():
            try:
                LaneWorker(connect_rq(self._redis_url), self._stop).work()
            except RedisError as error:
                log.warning("redis is away; lanes are drained without it", error=type(error).__name__)
                metrics.redis_away.set(1)
            self.until_redis_is_back()
            metrics.redis_away.set(0)

    def job(self, lane: int) -> str:
        """Drains this lane and then the lanes that are woken. Returns the last result.

        Raises only `RedisError`, which ends RQ's loop. RQ would write the text of any other exception into Redis, and
        run the job again at once. The sweeper wakes the lanes again anyway.
        """
        wake.forget(self._redis, lane)
        ends_at = time.monotonic() + JOB_S
        lanes: Collection[int] = {lane, *wake.take(self._redis)}
        while True:
            result = self._drained(lanes)
            if result == DATABASE_AWAY or self._stop.is_set() or time.monotonic() >= ends_at:
                return result
            lanes = wake.take(self._redis, wait_s=LINGER_S)
            if not lanes:
                return result

    def until_redis_is_back(self) -> None:
        """Finds due lanes in the database and drains them, until Redis answers or `stop` is set."""
        while not self._stop.is_set():
            if due := self._due():
                self._drained(due)
            self._stop.wait(DIRECT_LOOK_S)
            try:
                self._redis.ping()
            except RedisError:
                continue
            return

    def _due(self) -> list[int]:
        try:
            with self._engine.connect() as connection:
                due = claims.lanes_with_due_events(connection, idle_s=0)
        except SQLAlchemyError as error:
            self._outage.failed(error)
            return []
        self._outage.answered()
        return due

    def _drained(self, lanes: Collection[int]) -> str:
        """Drains the lanes together. Drains a lane alone if the last drain of this lane ended by a defect.

        A defect in one lane then keeps no other lane waiting.
        """
        result = ""
        together = set(lanes) - self._apart
        for group in (together, *({lane} for lane in sorted(self._apart.intersection(lanes)))):
            if group and not self._stop.is_set():
                result = self._drained_together(group)
        return result

    def _woken(self) -> Collection[int]:
        lanes = () if self._apart else wake.take_at_once(self._redis)
        if lanes:
            self._on_lanes(lanes)
        return lanes

    def _drained_together(self, lanes: Collection[int]) -> str:
        self._on_lanes(lanes)
        try:
            result = self._drain(lanes, self._woken)
        except SQLAlchemyError as error:
            self._outage.failed(error, lanes=tuple(sorted(lanes)))
            return DATABASE_AWAY
        except Exception:
            # A defect of ours. The lanes are free once their leases have expired; their batch has then lost an attempt.
            log.exception("a drain ended by a defect", lanes=sorted(lanes))
            self._apart.update(lanes)
            return FAILED
        self._apart.difference_update(lanes)
        self._outage.answered()
        return result
