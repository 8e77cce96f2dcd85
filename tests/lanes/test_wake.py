"""Wake-ups: one job per lane, none is lost between setting and reading, and Redis gets ids only."""

from collections.abc import Callable

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from waypost.dev.embedded import EmbeddedRedis
from waypost.lanes import job, wake


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Redis:
    """Return a client of a Redis of this test's own."""
    return wake.connect(redis_server.url)


def test_many_wake_ups_of_a_lane_are_one_job(redis: Redis) -> None:
    """RQ's cost is per job, so a lane that has one waiting gets no second."""
    assert wake.enqueue(redis, [1, 2, 1]) == 2
    assert wake.enqueue(redis, [1, 2, 3]) == 1
    assert job.queue(redis).count == 3


def test_a_lane_can_be_woken_again_once_its_job_has_begun(redis: Redis) -> None:
    """The job deletes the key before it reads the database, so events that are committed later get another job."""
    wake.enqueue(redis, [1])
    wake.acknowledge(redis, 1)
    assert wake.enqueue(redis, [1]) == 1


def test_wake_ups_do_not_fill_redis_while_no_worker_runs(redis: Redis) -> None:
    """With no worker for hours, each lane that still gets events would add a job every five seconds."""
    for _ in range(20):
        wake.enqueue(redis, range(64))
        for lane in range(64):
            wake.acknowledge(redis, lane)  # as if the key had expired
    assert job.queue(redis).count <= wake.MAX_JOBS + 64


def test_a_waker_survives_redis_being_away(redis_server: EmbeddedRedis, wait_for: Callable[..., object]) -> None:
    """Wake-ups while Redis is down are lost without an error; later ones arrive."""
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
    """Write access to Redis must not be code execution: only the allow-list runs."""
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
    """A lane's job calls the function that the worker installed, with the lane."""
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
    """It has no content and no arguments in its description; results stay for a while, abandoned jobs run again."""
    wake.enqueue(redis, [7])
    (queued,) = job.queue(redis).jobs
    assert (list(queued.args), queued.kwargs) == ([7], {})
    assert queued.description == "drain a lane"
    assert queued.result_ttl == job.RESULT_TTL_S > 0
    assert queued.retries_left == 3
