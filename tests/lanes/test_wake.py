"""Wake-ups: each lane has one job, no wake-up is lost between setting and reading, and Redis contains only ids."""

from collections.abc import Callable

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from waypost.dev.embedded import EmbeddedRedis
from waypost.lanes import job, wake


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Redis:
    """Returns a client of a Redis that only this test uses."""
    return wake.connect(redis_server.url)


def test_many_wake_ups_of_a_lane_are_one_job(redis: Redis) -> None:
    """A lane with a waiting job does not get a second one, because RQ has a cost for each job."""
    assert wake.enqueue(redis, [1, 2, 1]) == 2
    assert wake.enqueue(redis, [1, 2, 3]) == 1
    assert job.queue(redis).count == 3


def test_a_lane_can_be_woken_again_once_its_job_has_begun(redis: Redis) -> None:
    """A lane can be woken again after its job has begun.

    The job deletes the key before it reads the database, so events that are committed later get another job.
    """
    wake.enqueue(redis, [1])
    wake.acknowledge(redis, 1)
    assert wake.enqueue(redis, [1]) == 1


def test_wake_ups_do_not_fill_redis_while_no_worker_runs(redis: Redis) -> None:
    """The number of waiting jobs in Redis is limited.

    Without a limit, if no worker runs for hours, each lane with new events would add a job every five seconds.
    """
    for _ in range(20):
        wake.enqueue(redis, range(64))
        for lane in range(64):
            wake.acknowledge(redis, lane)  # as if the key had expired
    assert job.queue(redis).count <= wake.MAX_JOBS + 64


def test_a_waker_survives_redis_being_away(redis_server: EmbeddedRedis, wait_for: Callable[..., object]) -> None:
    """Wake-ups while Redis is down are lost without an error. Later wake-ups arrive."""
    waker = wake.Waker(wake.connect(redis_server.url))
    redis_server.kill()
    waker.wake([1])
    redis_server.start()
    client = wake.connect(redis_server.url)

    def woken() -> bool:
        waker.wake([2])
        return job.queue(client).count > 0

    wait_for(woken)
    waker.close()


def test_a_job_that_names_another_function_is_refused(redis: Redis) -> None:
    """A job in Redis can only call functions on the allow-list.

    Otherwise, write access to Redis would be enough to execute any code.
    """
    queue = Queue(job.QUEUE, connection=redis, serializer=JSONSerializer)
    queued = queue.enqueue("os.getcwd", result_ttl=60)
    worker = SimpleWorker([job.queue(redis)], connection=redis, job_class=job.LaneJob, serializer=JSONSerializer)
    worker.work(burst=True)
    found = job.LaneJob.fetch(queued.id, connection=redis, serializer=JSONSerializer)
    assert found.is_failed
    result = found.latest_result()
    assert result is not None
    assert "ForbiddenJob" in str(result.exc_string)


def test_an_allowed_job_runs(redis: Redis) -> None:
    """A lane's job calls the function that the worker has installed, and passes the lane to it."""
    drained: list[int] = []

    def drain(lane: int) -> str:
        drained.append(lane)
        return "emptied"

    job.install(drain)
    wake.enqueue(redis, [7])
    worker = SimpleWorker([job.queue(redis)], connection=redis, job_class=job.LaneJob, serializer=JSONSerializer)
    worker.work(burst=True)
    assert drained == [7]


def test_a_job_in_redis_contains_nothing_but_its_lane(redis: Redis) -> None:
    """The job of a lane contains the lane and no other content, also in its description.

    Its result is kept for a while, and RQ runs an abandoned job again.
    """
    wake.enqueue(redis, [7])
    (queued,) = job.queue(redis).jobs
    assert (list(queued.args), queued.kwargs) == ([7], {})
    assert queued.description == "drain a lane"
    assert queued.result_ttl == job.RESULT_TTL_S > 0
    assert queued.retries_left == 3
