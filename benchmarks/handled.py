"""Measures how many events are handled per second after they were acknowledged.

The events are a backlog. Waypost is compared with RQ's own worker.
"""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from rq import Queue

from benchmarks import bots, deliveries
from benchmarks.row import Figures, Line, Row
from benchmarks.stage import Failed, Stage
from waypost.cloudapi.inbound import delivery
from waypost.lanes import wake
from waypost.store import counts, inbox

AT_ONCE = 1_000
QUEUE = "plain"


class Handled(Row):
    """Compares two `waypost worker` with two stock `rq worker`. The bot and the job do nothing."""

    name = "handled"
    title = "From acknowledgement to handled"
    ours_is = "two `waypost worker` draining a backlog of messages, with a bot that does nothing"
    theirs_is = "two stock `rq worker`, one job per event, with a job that does nothing"
    lines = (
        Line("per_second", "events per second", "/s", ratio_at_least=50),
        Line("megabytes", "memory of a worker", "MB", at_most=150),
    )
    sizes: ClassVar = {"events": 20_000, "contacts": 4_000, "jobs": 1_000}
    small: ClassVar = {"events": 4_000, "contacts": 1_000, "jobs": 60}

    def __init__(self, stage: Stage, sizes: Mapping[str, Any]) -> None:
        self._stage = stage
        self._sizes = sizes
        stage.register(bots.SILENT)
        self._workers = stage.waypost("worker", count=2)
        self._rq_workers = stage.rq_workers(QUEUE)
        self._queue = Queue(QUEUE, connection=stage.redis)
        self._handled = 0

    def ours(self) -> Figures:
        """Measures how fast the Waypost workers handle a backlog of events.

        The backlog is committed at one moment, as if its deliveries had just been acknowledged. Then the lanes are
        woken.
        """
        given = list(deliveries.deliveries(self._sizes["events"], contacts=self._sizes["contacts"]))
        events = [delivery.split(one.body, default_number=deliveries.NUMBER)[0] for one in given]
        lanes: set[int] = set()
        with self._stage.engine.begin() as connection:
            for first in range(0, len(events), AT_ONCE):
                arrivals = [(event, None) for event in events[first : first + AT_ONCE]]
                lanes |= inbox.insert(connection, arrivals, writer=0).lanes
        began = time.monotonic()
        wake.enqueue(self._stage.redis, lanes)
        ended = self._stage.wait(self._is_drained, what="the backlog to be handled")
        self._handled += len(given)
        self._check()
        return {
            "per_second": len(given) / (ended - began),
            "megabytes": max(worker.peak_megabytes for worker in self._workers),
        }

    def _is_drained(self) -> bool:
        return not self._stage.scalar("SELECT count(*) FROM (SELECT FROM event WHERE state = 'waiting' LIMIT 1) AS one")

    def _check(self) -> None:
        with self._stage.engine.connect() as connection:
            stored = counts.by_number(connection)[deliveries.NUMBER]
        messages = self._stage.scalar("SELECT count(*) FROM message WHERE direction = 'in'")
        effective = self._stage.scalar("SELECT count(*) FROM event WHERE state = 'done' AND reason IS NULL")
        if {stored.received, stored.done, messages, effective} != {self._handled}:
            raise Failed(
                f"of {self._handled} events: {stored}, {messages} messages kept, {effective} handled by the bot"
            )

    def theirs(self) -> Figures:
        """Measures how fast the RQ workers run the jobs. All jobs become visible at one moment."""
        jobs = [Queue.prepare_data("benchmarks.peers.jobs.nothing", (place,)) for place in range(self._sizes["jobs"])]
        with self._stage.redis.pipeline() as pipe:
            queued = self._queue.enqueue_many(jobs, pipeline=pipe)
            began = time.monotonic()
            pipe.execute()
        finished = self._queue.finished_job_registry
        ended = self._stage.wait(
            lambda: self._stage.redis.zcard(finished.key) >= len(queued), what="the jobs to be run", deadline_s=600
        )
        if set(finished.get_job_ids()) != {job.id for job in queued}:
            raise Failed("the jobs that RQ finished are not those that were queued")
        self._stage.redis.delete(finished.key)
        return {
            "per_second": len(queued) / (ended - began),
            "megabytes": max(worker.peak_megabytes for worker in self._rq_workers),
        }
