"""The only RQ job of Waypost. A program that can write to Redis cannot make a worker run any other code.

RQ's JSON serializer avoids pickle. But a job still names its function by dotted path, so a program that
writes to Redis could otherwise make a worker call `os.system`. `LaneJob` therefore looks the function up in
an allow-list and refuses everything else.
"""

from collections.abc import Callable
from typing import Any, Final

from redis import Redis
from rq import Queue, Retry
from rq.job import Job
from rq.serializers import JSONSerializer

QUEUE: Final = "waypost"
"""The only RQ queue. With two, RQ would use BLPOP, and then a killed worker can lose a popped job (rq/rq#2236)."""

QUEUE_KEY: Final = f"{Queue.redis_queue_namespace_prefix}{QUEUE}"
"""The list in Redis that holds the ids of waiting jobs."""

JOB_TIMEOUT_S: Final = 60
"""RQ ends a job that takes longer. A worker's job ends itself after a third of this."""

RESULT_TTL_S: Final = 60
"""Must not be 0: RQ 3.0 would count a finished job as failed once its execution record expires, and run it again."""

FAILURE_TTL_S: Final = 3600
"""RQ keeps failed jobs for a year by default. Our jobs are only hints, so an hour is enough to inspect a failed one."""


class ForbiddenJob(Exception):
    """Raised for a job whose function is not one of Waypost's. Another program writes to this Redis. Do not retry."""


_drain: Callable[[int], str] | None = None


def install(drain: Callable[[int], str]) -> None:
    """Sets the function that the jobs of this process call. A worker does this before it starts to work."""
    global _drain  # noqa: PLW0603 - RQ calls a module-level function; the process has exactly one drain
    _drain = drain


def drain_lane(lane: int) -> str:
    """Drains this lane and the lanes that have been woken.

    Returns the result for `rq info`. The result has no content of messages.
    """
    if _drain is None:
        raise ForbiddenJob("this worker is not a Waypost worker; start it with `waypost worker`")
    return _drain(lane)


_ALLOWED: Final[dict[str, Callable[..., Any]]] = {"waypost.lanes.job.drain_lane": drain_lane}


class LaneJob(Job):
    """An RQ job whose function must be on the allow-list."""

    @property
    def func(self) -> Callable[..., Any]:
        """Returns the allowed function that this job names. Raises `ForbiddenJob` if the function is not allowed."""
        try:
            return _ALLOWED[self.func_name or ""]
        except KeyError:
            raise ForbiddenJob("a job names a function that Waypost does not run; check who writes to Redis") from None


class LaneQueue(Queue):
    """RQ's queue, with `LaneJob` as its job class."""

    job_class = LaneJob


def queue(redis: Redis) -> LaneQueue:
    """Returns the queue of this installation."""
    return LaneQueue(QUEUE, connection=redis, serializer=JSONSerializer)


def job_for(lane: int) -> Any:
    """Returns a job for `Queue.enqueue_many`. It holds only ids and hides its arguments.

    RQ retries the job if a worker abandons it.
    """
    return Queue.prepare_data(
        "waypost.lanes.job.drain_lane",
        args=(lane,),
        timeout=JOB_TIMEOUT_S,
        result_ttl=RESULT_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        description="drain lanes",
        retry=Retry(max=3),
    )
