"""Drains lanes in this process.

RQ's jobs name the lanes to drain. While Redis is away, the database names them.
"""

import threading
from collections.abc import Callable
from typing import Final

import structlog
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.lanes import job, wake
from waypost.store import lanes
from waypost.store.connection.outage import DatabaseOutage
from waypost.worker.rq_worker import LaneWorker
from waypost.worker.rq_worker import connect as connect_rq

log = structlog.get_logger(__name__)

DIRECT_LOOK_S: Final = 0.25
"""Interval in seconds at which a worker itself looks for due lanes while Redis is away."""

DATABASE_AWAY: Final = "database away"
FAILED: Final = "failed"


class LaneWork:
    """Calls `drain(lane)` for lanes that have work, one lane at a time, in the thread that called `run`."""

    def __init__(
        self, engine: Engine, redis: Redis, redis_url: str, drain: Callable[[int], str], stop: threading.Event
    ) -> None:
        """Creates the loop. `redis` has short time-outs, and RQ waits for jobs on its own connection to `redis_url`."""
        self._engine = engine
        self._redis = redis
        self._redis_url = redis_url
        self._drain = drain
        self._stop = stop
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
                # No warning: the sender's rate limits warn of the same outage.
                log.info("redis is away; lanes are drained without it", error=type(error).__name__)
            self.until_redis_is_back()

    def job(self, lane: int) -> str:
        """Drains one lane for RQ and returns the result. Raises only `RedisError`, which ends RQ's loop.

        RQ would write the text of any other exception into Redis, and would run the job again at once. The sweeper
        wakes the lane again in any case.
        """
        wake.acknowledge(self._redis, lane)
        return self._drained(lane)

    def until_redis_is_back(self) -> None:
        """Finds due lanes in the database and drains them, until Redis answers or `stop` is set."""
        while not self._stop.is_set():
            for lane in self._due():
                if self._stop.is_set():
                    return
                self._drained(lane)
            self._stop.wait(DIRECT_LOOK_S)
            try:
                self._redis.ping()
            except RedisError:
                continue
            return

    def _due(self) -> list[int]:
        try:
            with self._engine.connect() as connection:
                due = lanes.lanes_with_due_events(connection, idle_s=0)
        except SQLAlchemyError as error:
            self._outage.failed(error)
            return []
        self._outage.answered()
        return due

    def _drained(self, lane: int) -> str:
        try:
            result = self._drain(lane)
        except SQLAlchemyError as error:
            self._outage.failed(error, lane=lane)
            return DATABASE_AWAY
        except Exception:
            # A defect of ours. The lane is free once its lease has expired; its batch has then lost an attempt.
            log.exception("a drain ended by a defect", lane=lane)
            return FAILED
        self._outage.answered()
        return result
