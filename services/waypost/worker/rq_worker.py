"""The RQ worker of this process. It is a `SimpleWorker`, because a forking worker loses its connections to Meta.

It changes five behaviours of RQ 3.0. RQ waits in a pop for minutes. RQ sleeps for up to a minute when Redis
is away. RQ raises inside the pop when it is asked to stop, which can lose the popped job. RQ logs job
arguments. RQ does what keys in Redis say: it suspends itself, ends itself and calls functions.
"""

import os
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar
from uuid import uuid4

import structlog
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import SimpleWorker, worker_registration
from rq.exceptions import StopRequested
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job
from rq.queue import Queue
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import now

from waypost import redis_address
from waypost.lanes import foreign, job, upkeep

log = structlog.get_logger(__name__)

WORKER_TTL_S: Final = 20
"""`rq info` drops a vanished worker this many seconds after its last heartbeat, plus RQ's own 60."""

MAINTENANCE_INTERVAL_S: Final = 15
POP_S: Final = 1
"""Longest wait for a job before the worker checks whether it should stop."""
ANSWER_S: Final = POP_S + 2
"""Longest wait for an answer of Redis; a blocking pop answers after `POP_S`."""


Answer = TypeVar("Answer")


def connect(url: str) -> Redis:
    """Returns a Redis client for the worker's blocking pop. The client waits up to `ANSWER_S` for an answer."""
    return redis_address.connect(url, socket_connect_timeout=0.5, socket_timeout=ANSWER_S, health_check_interval=15)


class LaneWorker(SimpleWorker):
    """Runs lane jobs in this process until it is asked to stop or Redis goes away."""

    job_class = job.LaneJob
    queue_class = job.LaneQueue
    log_result_lifespan = False

    def __init__(self, redis: Redis, stop: threading.Event) -> None:
        """Creates a worker that ends when `stop` is set. A signal that reaches RQ's handlers sets `stop` too."""
        super().__init__(
            [job.queue(redis)],
            # Unique for every start: RQ refuses a name that a killed predecessor still holds.
            name=f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}",
            connection=redis,
            worker_ttl=WORKER_TTL_S,
            maintenance_interval=MAINTENANCE_INTERVAL_S,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self._stop = stop
        self._popped: set[bytes] = set()

    @property
    def dequeue_timeout(self) -> int:
        """Returns how many seconds one blocking pop waits for a job."""
        return POP_S

    @property
    def connection_timeout(self) -> int:
        """Returns how many seconds Redis may take to answer.

        If Redis hangs, RQ's own value would make each call ten seconds longer.
        """
        return ANSWER_S

    def subscribe(self) -> None:
        """Does nothing, because RQ's remote control would let everyone who can write to Redis end this process.

        The thread and the connection of the remote control would also leak each time Redis becomes unreachable (RQ
        3.0 skips `unsubscribe`).
        """

    def register_birth(self) -> None:
        """Enters this worker into the list of workers, after keys of a wrong type were removed."""
        foreign.repair(self.connection)
        super().register_birth()  # type: ignore[no-untyped-call]

    def check_for_suspension(self, burst: bool) -> None:
        """Does nothing, because a single key in Redis would otherwise stop all workers."""

    def run_maintenance_tasks(self) -> None:
        """Tidies the queue. RQ's own maintenance would do what the jobs in its registries say."""
        self._popped = upkeep.tidy(self.connection, self._popped)
        worker_registration.register(self)  # the list of workers may have been removed as a whole
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def _set_ip_address(self, connection: Redis) -> None:
        """Asks Redis which address it sees for this worker. `rq info` shows this address."""
        try:
            super()._set_ip_address(connection)
        except ValueError:
            # redis-py up to 8.1.0 cannot read CLIENT INFO where the path of a Unix socket holds a space or "=".
            # Can go with the first release that has https://github.com/redis/redis-py/pull/4275.
            self.ip_address = "unknown"

    def request_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler
        """Stops the worker after the running job. RQ would raise inside the pop and could lose the popped job."""
        self._stop_requested = True
        self._stop.set()

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002 - RQ's signature
        """Returns after how many seconds the job of a vanished worker counts as abandoned.

        This is the job's timeout plus 5 s. RQ itself adds 60 s.
        """
        return int(job.timeout or 60) + 5

    def dequeue_job_and_maintain_ttl(
        self,
        timeout: int | None,  # noqa: ARG002 - RQ's signature
        max_idle_time: int | None = None,  # noqa: ARG002 - RQ's signature
    ) -> tuple[Job, Queue] | None:
        """Returns the next job. Checks every second whether to stop."""
        while not self._stop.is_set():
            popped = super().dequeue_job_and_maintain_ttl(POP_S, max_idle_time=POP_S)
            if popped is not None:
                return popped
        raise StopRequested

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Sends a heartbeat.

        If Redis is away, leaves the work loop. RQ itself would wait in the loop for up to a minute.
        """
        send = super().heartbeat
        try:
            self._repaired(lambda: send(timeout, pipeline))
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise StopRequested from error

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Enters the state of this worker into Redis, for `rq info`."""
        send = super().set_state
        self._repaired(lambda: send(state, pipeline))

    def register_death(self) -> None:
        """Removes this worker from the list of workers."""
        self._repaired(super().register_death)

    def prepare_execution(self, job: Job) -> Execution:
        """Enters the start of a job into Redis."""
        prepare = super().prepare_execution
        return self._repaired(lambda: prepare(job), job)

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """Enters into Redis that this worker runs the job."""
        prepare = super().prepare_job_execution
        self._repaired(lambda: prepare(job, remove_from_intermediate_queue), job)

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """Enters the end of a job into Redis."""
        end = super().handle_execution_ended
        self._repaired(lambda: end(job, queue, heartbeat_ttl), job)

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: Any, execution: Execution) -> None:
        """Enters the result of a job into Redis."""
        succeed = super().handle_job_success
        self._repaired(lambda: succeed(job, queue, started_job_registry, execution), job)

    def _repaired(self, action: Callable[[], Answer], job: Job | None = None) -> Answer:
        """Returns what `action` returns, after a repair if another program replaced a key of this worker or its job.

        RQ would end its loop instead, as if Redis were away.
        """
        types = {**foreign.TYPES, self.key: b"hash", self.executions_key: b"set"}
        if job is not None:
            types[job.key] = b"hash"
            types[ExecutionRegistry(job.id, self.connection).key] = b"zset"
            types[Result.get_key(job.id)] = b"stream"  # type: ignore[no-untyped-call]
        return foreign.repaired(self.connection, action, types)
