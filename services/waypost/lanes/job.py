"""The only RQ job of Waypost. A program that can write to Redis cannot make a worker run any other code.

RQ's JSON serializer avoids pickle. But a job still names its function by dotted path, so a program that writes to
Redis could otherwise make a worker call `os.system`. The same holds for its callbacks, and RQ posts to the web
addresses in a job. `LaneJob` therefore reads only jobs that are ours in every field (`job_check`), and removes all
others before RQ sees anything of them.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from redis import Redis
from rq import Queue, Retry
from rq.exceptions import DequeueTimeout, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from waypost.lanes import foreign, job_check
from waypost.lanes.foreign import POPPED_KEY, QUEUE, QUEUE_KEY, WOKEN_KEY
from waypost.lanes.job_check import Refusal

__all__ = ["QUEUE", "QUEUE_KEY", "ForbiddenJob", "LaneJob", "LaneQueue", "install", "job_for", "queue"]

JOB_TIMEOUT_S: Final = 60
"""RQ ends a job that takes longer. A worker's job ends itself after a third of this."""

RESULT_TTL_S: Final = 60
"""Must not be 0: RQ 3.0 would count a finished job as failed once its execution record expires, and run it again."""

FAILURE_TTL_S: Final = 3600
"""RQ keeps failed jobs for a year by default. Our jobs are only hints, so an hour is enough to inspect a failed one."""


class ForbiddenJob(NoSuchJobError):
    """Raised for a job that is not one of Waypost's. Another program writes to this Redis. Do not retry.

    For RQ such a job does not exist, so RQ goes on with the next one.
    """


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


class LaneJob(Job):
    """An RQ job that is exactly as `job_for` writes it. Every other job is removed when it is read."""

    @property
    def func(self) -> Callable[..., Any]:
        """Returns the only function of a job. Raises `ForbiddenJob` if the job names another one."""
        if self.func_name != job_check.FUNCTION:
            raise ForbiddenJob("a job names a function that Waypost does not run; check who writes to Redis")
        return drain_lane

    def refresh(self) -> None:
        """Reads the job from Redis. Raises `NoSuchJobError` if it is not there or not one of ours."""
        job_id = self.id.encode()
        read = foreign.read_job(self.connection, job_id)
        if not read:
            raise NoSuchJobError("no such job")
        if isinstance(read, dict):
            try:
                super().restore(read)
            except (ValueError, OverflowError):  # for example the 31st of February
                read = Refusal.JOB_FIELDS
            else:
                return
        foreign.remove_job(self.connection, job_id)
        foreign.count(read)
        raise ForbiddenJob("a job is not one of Waypost's; check who writes to Redis")

    def restore(self, raw_data: object) -> None:  # noqa: ARG002 - RQ's signature
        """Raises `ForbiddenJob`: RQ must not read a job in another way than by `refresh`."""
        raise ForbiddenJob("a job of Waypost is only read by `refresh`")


class LaneQueue(Queue):
    """RQ's queue, with `LaneJob` as its job class. No job depends on another one."""

    job_class = LaneJob

    @classmethod
    def dequeue_any(
        cls, queues: Iterable[Queue], timeout: int | None, connection: Redis, *_args: Any, **_options: Any
    ) -> tuple[Job, Queue] | None:
        """Returns the next job and its queue, or None if `timeout` is None and no job waits.

        Raises `DequeueTimeout` if no job came within `timeout` seconds, or if the next one was refused: then the caller
        sends its heartbeat and sees whether it must stop, also while another program floods the queue.
        """
        (waiting,) = queues
        popped: Any
        found: LaneJob | None = None
        while True:
            is_refused = True
            with foreign.bounded(connection, POPPED_KEY):  # the entry was moved, also if it was too long to be read
                if timeout is None:
                    popped = connection.lmove(QUEUE_KEY, POPPED_KEY)
                else:
                    popped = connection.blmove(QUEUE_KEY, POPPED_KEY, timeout)
                if popped is None:
                    is_refused = False
                else:
                    found = _read(connection, popped)
            if found is not None:
                return found, waiting
            if is_refused:
                _keep_going(connection)
            elif timeout is None:
                return None
            if timeout is not None:
                raise DequeueTimeout(timeout, [QUEUE_KEY])

    def move_dependents_to_ready(self, *_args: object, **_options: object) -> dict[str, list[str]]:
        """Returns no jobs: only a foreign program can have made a job depend on one of ours."""
        return {}


def _read(redis: Redis, job_id: bytes) -> LaneJob | None:
    if not job_check.is_job_id(job_id):
        foreign.refuse_id(redis, job_id)
        return None
    try:
        return LaneJob.fetch(job_id.decode(), connection=redis, serializer=JSONSerializer)  # type: ignore[return-value]
    except ForbiddenJob:
        return None
    except NoSuchJobError:
        redis.lrem(POPPED_KEY, 0, job_id)  # type: ignore[arg-type]
        return None


def _keep_going(redis: Redis) -> None:
    """Puts a job in front of the queue if lanes wait, in place of one that was refused.

    A wake-up queues a job only if none waits, so jobs of another program would otherwise keep lanes waiting.
    """
    if redis.zcard(WOKEN_KEY):
        queue(redis).enqueue_many([job_for(0, at_front=True)])


def queue(redis: Redis) -> LaneQueue:
    """Returns the queue of this installation."""
    return LaneQueue(QUEUE, connection=redis, serializer=JSONSerializer)


def job_for(lane: int, *, at_front: bool = False) -> Any:
    """Returns a job for `Queue.enqueue_many`. It holds only ids and hides its arguments.

    Its fields are those that `job_check` accepts. Workers of version 0.1 run an abandoned job again; later ones leave
    that to the sweeper.
    """
    return Queue.prepare_data(
        job_check.FUNCTION,
        args=(lane,),
        timeout=JOB_TIMEOUT_S,
        result_ttl=RESULT_TTL_S,
        failure_ttl=FAILURE_TTL_S,
        description="drain lanes",
        retry=Retry(max=3),
        at_front=at_front,
    )
