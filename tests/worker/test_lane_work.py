"""Tests that lanes are drained by RQ's jobs and, without Redis, by the worker itself."""

import threading
from collections.abc import Callable, Collection

import pytest
import structlog
from redis.exceptions import RedisError
from rq.serializers import JSONSerializer
from sqlalchemy import Engine, text

from waypost.dev.embedded import EmbeddedRedis
from waypost.lanes import job, wake
from waypost.worker.lane_work import DrainLanes, LaneWork
from waypost.worker.rq_worker import ANSWER_S, LaneWorker
from waypost.worker.rq_worker import connect as connect_rq


@pytest.fixture
def put(database: Engine) -> Callable[[int], None]:
    """Returns `put(lane)`, which stores a waiting event."""

    def put(lane: int) -> None:
        with database.begin() as connection:
            connection.execute(
                text("""
                    INSERT INTO event (number_id, kind, event_key, lane, contact_key, occurred_at, payload)
                    VALUES ('100', 'message', :key, :lane, 'A', now(), '')
                """),
                {"key": f"in {lane}", "lane": lane},
            )

    return put


def _work(database: Engine, redis: EmbeddedRedis, drain: DrainLanes, stop: threading.Event | None = None) -> LaneWork:
    return LaneWork(database, wake.connect(redis.url), redis.url, drain, stop or threading.Event())


def test_a_worker_that_must_stop_drains_no_further_lane(
    database: Engine, redis_server: EmbeddedRedis, put: Callable[[int], None]
) -> None:
    """A worker that must stop begins no other drain.

    Without Redis a worker looks for due lanes again and again, and their backlog may take longer than a pod's grace
    period.
    """
    redis_server.kill()
    for lane in range(3):
        put(lane)
    stop = threading.Event()
    drained: list[set[int]] = []

    def drain(lanes: Collection[int], _woken: object) -> str:
        drained.append(set(lanes))
        stop.set()
        return "sliced"

    _work(database, redis_server, drain, stop).until_redis_is_back()
    assert drained == [{0, 1, 2}]


def test_a_defect_in_one_drain_does_not_keep_the_other_lanes_waiting(
    database: Engine, redis_server: EmbeddedRedis, put: Callable[[int], None]
) -> None:
    """If a drain of several lanes fails because of a defect, each of these lanes is then drained alone.

    Without Redis, no other code would catch the error, and the error would end the process.
    """
    redis_server.kill()
    for lane in range(3):
        put(lane)
    stop = threading.Event()
    drained: list[set[int]] = []

    def drain(lanes: Collection[int], _woken: object) -> str:
        drained.append(set(lanes))
        if 0 in lanes:
            raise KeyError("a phone number")
        if 2 in lanes:
            stop.set()
        return "emptied"

    _work(database, redis_server, drain, stop).until_redis_is_back()
    assert drained == [{0, 1, 2}, {0}, {1}, {2}]


def test_a_job_goes_on_with_the_lanes_that_are_woken_while_it_runs(
    database: Engine, redis_server: EmbeddedRedis
) -> None:
    """A job also drains the lanes that are woken while it runs.

    A job costs RQ more than a drain costs us.
    """
    client = wake.connect(redis_server.url)
    drained: list[set[int]] = []

    def drain(lanes: Collection[int], woken: Callable[[], Collection[int]]) -> str:
        drained.append(set(lanes))
        if 7 in lanes:
            wake.enqueue(client, [8])
            drained.append(set(woken()))
            wake.enqueue(client, [9])
        return "emptied"

    assert _work(database, redis_server, drain).job(7) == "emptied"
    assert drained == [{7}, {8}, {9}]


def test_a_warning_names_a_lane_whose_rows_stay_locked(database: Engine, redis_server: EmbeddedRedis) -> None:
    """If the rows of a lane stay locked, a warning names the lane.

    The worker stays ready because the database is there, so nothing else names the lane.
    """

    def drain(_lanes: Collection[int], _woken: object) -> str:
        with database.connect() as connection:
            connection.execute(text("SET lock_timeout = 10"))
            connection.execute(text("LOCK TABLE event"))
        return "emptied"

    with database.begin() as holder, structlog.testing.capture_logs() as lines:
        holder.execute(text("LOCK TABLE event"))
        _work(database, redis_server, drain).job(7)

    assert [(line["log_level"], line["lanes"]) for line in lines] == [("warning", (7,))]


def test_a_failed_drain_leaves_no_text_of_its_error_in_redis(database: Engine, redis_server: EmbeddedRedis) -> None:
    """If a drain fails, Redis does not contain the text of its error (G8).

    RQ stores the message of a job's exception, which may quote anything.
    """
    stop = threading.Event()

    def drain(_lanes: Collection[int], _woken: object) -> str:
        stop.set()
        raise ValueError("the text of a person")

    job.install(_work(database, redis_server, drain).job)
    client = wake.connect(redis_server.url)
    wake.enqueue(client, [7])
    (job_id,) = job.queue(client).job_ids
    LaneWorker(connect_rq(redis_server.url), stop).work()
    result = job.LaneJob.fetch(job_id, connection=client, serializer=JSONSerializer).latest_result()
    assert result is not None
    assert (result.return_value, result.exc_string) == ("failed", None)


def test_an_rq_worker_waits_little_longer_for_an_answer_than_for_a_job(redis_server: EmbeddedRedis) -> None:
    """An RQ worker waits only a little longer for an answer of Redis than for a job.

    RQ would make the time-out ten seconds longer, and every call to a hung Redis would take that long.
    """
    worker = LaneWorker(connect_rq(redis_server.url), threading.Event())
    assert worker.connection.connection_pool.connection_kwargs["socket_timeout"] == ANSWER_S


def test_an_rq_worker_whose_redis_went_away_leaves_no_thread_behind(redis_server: EmbeddedRedis) -> None:
    """If Redis goes away, an RQ worker leaves no thread behind.

    A worker starts a new RQ worker each time Redis is back, so leaked threads would grow with every outage.
    """
    before = set(threading.enumerate())
    worker = LaneWorker(connect_rq(redis_server.url), threading.Event())
    killer = threading.Timer(0.5, redis_server.kill)
    killer.start()
    with pytest.raises(RedisError):
        worker.work()
    killer.join()
    assert set(threading.enumerate()) - before == set()
