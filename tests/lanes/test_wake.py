"""Tests wake-ups: one job drains all woken lanes, no wake-up is lost, and Redis contains only ids."""

import threading
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


def test_all_lanes_that_are_woken_together_are_one_job(redis: Redis) -> None:
    """All lanes that are woken together are one job. While a job waits, no second job is created.

    Each job in RQ has a cost.
    """
    assert wake.enqueue(redis, [1, 2, 1]) == 2
    assert wake.enqueue(redis, [1, 2, 3]) == 1
    assert job.queue(redis).count == 1
    assert wake.take(redis) == [1, 2, 3]


def test_a_lane_can_be_woken_again_once_it_was_taken(redis: Redis) -> None:
    """A lane can be woken again as soon as a worker has taken it.

    The worker takes the lane before it reads the database. Events that are committed later wake the lane again.
    """
    wake.enqueue(redis, [1])
    assert wake.take(redis) == [1]
    assert wake.enqueue(redis, [1]) == 1
    assert wake.take(redis) == [1]


def test_the_lanes_that_were_woken_first_are_taken_first(redis: Redis) -> None:
    """The lanes that were woken first are taken first.

    A waiting lane keeps its place when it is woken again. A worker takes only its share of the lanes.
    """
    for lane in range(wake.SHARE + 1):
        wake.enqueue(redis, [50 - lane])
    wake.enqueue(redis, [50])
    assert sorted(wake.take(redis)) == list(range(50 - wake.SHARE + 1, 51))
    assert wake.take(redis) == [50 - wake.SHARE]


def test_lanes_that_are_left_get_another_job(redis: Redis) -> None:
    """If more lanes are woken than one worker takes, another worker gets a job for them."""
    wake.enqueue(redis, range(wake.SHARE + 1))
    redis.delete(job.QUEUE_KEY)
    wake.take(redis)
    assert job.queue(redis).count == 1


def test_a_running_job_waits_for_the_next_lane(redis: Redis) -> None:
    """A job that waits for a lane gets the lane as soon as the lane is woken.

    If no lane is woken in the given time, the job gets none.
    """
    woken = threading.Thread(target=wake.enqueue, args=(redis, [5]))
    woken.start()
    assert wake.take(redis, wait_s=60) == [5]
    woken.join()
    assert wake.take(redis, wait_s=0.01) == []


def test_wake_ups_do_not_fill_redis_while_no_worker_runs(redis: Redis) -> None:
    """While no worker runs, Redis contains only one waiting job, and contains each woken lane only once."""
    for _ in range(20):
        wake.enqueue(redis, range(64))
    assert job.queue(redis).count == 1
    assert redis.zcard(wake.WOKEN_KEY) == 64


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
    """A job in Redis can only call our function. For RQ, any other job does not exist, and it is removed.

    Otherwise, write access to Redis would be enough to execute any code.
    """
    queue = Queue(job.QUEUE, connection=redis, serializer=JSONSerializer)
    queued = queue.enqueue("os.getcwd", result_ttl=60)
    worker = SimpleWorker([job.queue(redis)], connection=redis, job_class=job.LaneJob, serializer=JSONSerializer)
    assert not worker.work(burst=True)
    assert not redis.exists(queued.key)


def test_a_wake_up_that_names_no_lane_wakes_all_lanes(redis: Redis) -> None:
    """If another program wrote into the set of lanes, the set is removed and all lanes are taken.

    Lanes that were taken together with the foreign entry are not forgotten.
    """
    wake.enqueue(redis, [1, 2])
    redis.zadd(wake.WOKEN_KEY, {"64": 0})
    assert wake.take(redis) == list(range(64))
    assert wake.take(redis) == []


@pytest.mark.parametrize("key", [wake.WOKEN_KEY, job.QUEUE_KEY])
def test_a_key_of_a_wrong_type_is_replaced(redis: Redis, key: str) -> None:
    """A key of a wrong type stops neither waking nor taking. No lane that was woken before is forgotten."""
    redis.set(key, "x")
    wake.enqueue(redis, [5])
    assert wake.take(redis) == [5]
    wake.enqueue(redis, [6])
    redis.set(key, "x")
    assert wake.take(redis) == list(range(64))
    assert wake.take(redis) == []


def test_a_time_in_the_future_does_not_keep_a_lane_back(redis: Redis) -> None:
    """A lane that another program entered with a late time gets the time of its next wake-up."""
    redis.zadd(wake.WOKEN_KEY, {"3": float("inf")})
    wake.enqueue(redis, [3])
    assert (redis.zscore(wake.WOKEN_KEY, "3") or 0) < 4e9


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
    assert queued.description == "drain lanes"
    assert queued.result_ttl == job.RESULT_TTL_S > 0
    assert queued.retries_left == 3
