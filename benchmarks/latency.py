"""Measures the time from the acknowledgement of an event until the event is handled, at fixed rates.

The times are compared with those of RQ's own worker at a low rate.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import uvloop
from rq import Queue
from rq.job import Job

from benchmarks import bots, deliveries, load
from benchmarks.row import Figures, Line, Row
from benchmarks.stage import Failed, Stage

QUEUE = "plain"
RATES = (100, 300, 1_500)
THEIR_RATE = 20
BOUNDS_MS = {"p50": 30, "p99": 150}


class Latency(Row):
    """Compares two `waypost worker` behind a webhook with two stock `rq worker`. The bot and the job do nothing."""

    name = "latency"
    title = "Time from acknowledgement to handled"
    ours_is = "`waypost webhook` and two `waypost worker`, deliveries at fixed rates, with a bot that does nothing"
    theirs_is = f"two stock `rq worker`, one job per event at {THEIR_RATE} a second, with a job that does nothing"
    lines = (
        *(
            Line(f"{figure}_ms_at_{rate}", f"{figure} at {rate} a second", "ms", at_most=bound)
            for rate in RATES
            for figure, bound in BOUNDS_MS.items()
        ),
        Line("p99_ms", f"p99 of RQ at {THEIR_RATE} a second", "ms"),
    )
    sizes: ClassVar = {"seconds": 8, "contacts": 2_000}
    small: ClassVar = {"seconds": 1, "contacts": 200}

    def __init__(self, stage: Stage, sizes: Mapping[str, Any]) -> None:
        self._stage = stage
        self._sizes = sizes
        stage.register(bots.SILENT)
        self._webhook = stage.waypost("webhook")[0]
        stage.waypost("worker", count=2)
        stage.rq_workers(QUEUE)
        self._queue = Queue(QUEUE, connection=stage.redis)

    def ours(self) -> Figures:
        """Delivers at each rate. Takes the times from the database: `finished_at - received_at` of each event."""
        figures: Figures = {}
        for rate in RATES:
            last = self._stage.scalar("SELECT coalesce(max(id), 0) FROM event")
            given = list(deliveries.deliveries(rate * self._sizes["seconds"], contacts=self._sizes["contacts"]))
            uvloop.run(load.pace(self._webhook.port, given, rate))
            self._stage.wait(partial(self._has_handled, last, len(given)), what="all events")
            times = self._stage.numbers(
                "SELECT extract(epoch FROM finished_at - received_at)::float8 * 1000 FROM event"
                f" WHERE id > {last} ORDER BY 1"
            )
            if len(times) != len(given):
                raise Failed(f"of {len(given)} deliveries, {len(times)} events were handled")
            figures |= {f"{name}_ms_at_{rate}": value for name, value in _quantiles(times).items()}
        return figures

    def _has_handled(self, last: int, count: int) -> bool:
        statement = f"SELECT count(*) FROM event WHERE id > {last} AND state = 'done'"
        return self._stage.scalar(statement) >= count

    def theirs(self) -> Figures:
        """Queues jobs at a low rate. Measures the time from the moment a job was queued until the job had run."""
        queued: list[Job] = []
        start = time.monotonic()
        for place in range(THEIR_RATE * self._sizes["seconds"]):
            time.sleep(max(0.0, start + place / THEIR_RATE - time.monotonic()))
            queued.append(self._queue.enqueue("benchmarks.peers.jobs.nothing", place))
        finished = self._queue.finished_job_registry
        self._stage.wait(
            lambda: self._stage.redis.zcard(finished.key) >= len(queued), what="the jobs to be run", deadline_s=600
        )
        times = sorted(_run_ms(job) for job in queued)
        self._stage.redis.delete(finished.key)
        return {"p99_ms": _quantiles(times)["p99"]}


def _run_ms(job: Job) -> float:
    job.refresh()  # type: ignore[no-untyped-call]
    if job.enqueued_at is None or job.ended_at is None:
        raise Failed("a job of RQ has not run")
    return (job.ended_at - job.enqueued_at).total_seconds() * 1e3


def _quantiles(times: Sequence[float]) -> dict[str, float]:
    return {"p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)]}
