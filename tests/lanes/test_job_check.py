"""Tests of what a job and a wake-up in Redis may look like: exactly as this version of RQ writes ours, or refused."""

import json
import zlib
from typing import cast

import pytest
from redis import Redis
from rq.serializers import JSONSerializer

from waypost.dev.embedded import EmbeddedRedis
from waypost.lanes import job, wake
from waypost.lanes.job_check import FIELDS, LONGEST_VALUE, Refusal, is_job_id, lane_of, refusal

TIME = b"2026-11-30T19:00:00.000000Z"


def call(
    function: str = "waypost.lanes.job.drain_lane", instance: object = None, *args: object, **named: object
) -> bytes:
    """Returns the packed call of a job."""
    return zlib.compress(bytes(JSONSerializer.dumps((function, instance, list(args), named))))  # type: ignore[no-untyped-call]


OURS = {
    b"created_at": TIME,
    b"data": call("waypost.lanes.job.drain_lane", None, 7),
    b"description": b"drain lanes",
    b"ended_at": b"",
    b"enqueued_at": TIME,
    b"failure_callback_name": b"",
    b"failure_ttl": b"3600",
    b"group_id": b"",
    b"last_heartbeat": b"",
    b"origin": b"waypost",
    b"result_ttl": b"60",
    b"retries_left": b"3",
    b"retry_intervals": b"[0]",
    b"started_at": b"",
    b"status": b"queued",
    b"stopped_callback_name": b"",
    b"success_callback_name": b"",
    b"timeout": b"60",
    b"worker_name": b"",
}


def test_a_job_of_ours_is_accepted() -> None:
    """A job is accepted if each field is as RQ writes it for `job_for`."""
    assert refusal(OURS) is None


def test_a_job_is_accepted_in_every_part_of_its_life(redis_server: EmbeddedRedis) -> None:
    """A job is accepted as RQ stores it: when it waits, while it runs, when it has run and when it is tried again.

    If a new version of RQ writes another field, this test fails, and someone must decide what the field means.
    """
    redis = wake.connect(redis_server.url)
    wake.enqueue(redis, [7])
    job_id = str(job.queue(redis).job_ids[0])

    def stored() -> dict[bytes, bytes]:
        return cast("dict[bytes, bytes]", redis.hgetall(f"rq:job:{job_id}"))

    assert stored().keys() == OURS.keys()
    assert refusal(stored()) is None
    queued = job.LaneJob.fetch(job_id, connection=redis, serializer=JSONSerializer)
    queue = job.queue(redis)
    with redis.pipeline() as pipe:
        queued.prepare_for_execution("worker-0.example.host-1-0a1b2c3d", pipeline=pipe)
        pipe.execute()
    assert refusal(stored()) is None
    with redis.pipeline() as pipe:
        queued.retry(queue, pipe)
        pipe.execute()
    assert (refusal(stored()), stored()[b"retries_left"]) == (None, b"2")
    with redis.pipeline() as pipe:
        queued._handle_success(60, pipe)
        pipe.execute()
    assert refusal(stored()) is None
    with redis.pipeline() as pipe:
        queued._handle_failure("AbandonedJobError", pipe)
        pipe.execute()
    assert refusal({field: value for field, value in stored().items() if field != b"exc_info"}) is None


@pytest.mark.parametrize("field", sorted(OURS))
@pytest.mark.parametrize("value", [b"os.system", b"\xff\xfe", b"x" * (LONGEST_VALUE + 1), b"-1", b"60\n"])
def test_another_value_in_any_field_is_refused(field: bytes, value: bytes) -> None:
    """Each field allows only values that ours have. A worker's name is the only free text."""
    if field == b"worker_name" and value in (b"os.system", b"-1"):
        pytest.skip("a name of a host")
    assert refusal({**OURS, field: value}) is not None


@pytest.mark.parametrize(
    "field",
    [
        "webhooks", "meta", "ttl", "dependency_id", "dependency_ids", "repeats_left", "repeat_intervals",
        "rate_limit_key", "rate_limit_concurrency", "enqueue_at_front", "enqueue_at_front_on_retry",
        "allow_dependency_failures", "success_callback_timeout", "failure_callback_timeout",
        "stopped_callback_timeout", "number_of_retries", "result", "exc_info", "a field of a later version",
    ],
)  # fmt: skip
def test_another_field_is_refused(field: str) -> None:
    """A field that ours do not have makes a job foreign, also if it is empty."""
    assert refusal({**OURS, field.encode(): b""}) is Refusal.JOB_FIELDS
    assert field.encode() not in FIELDS


@pytest.mark.parametrize("field", ["created_at", "data", "description", "enqueued_at", "origin", "status", "timeout"])
def test_a_missing_field_is_refused(field: str) -> None:
    """A job that lacks a field of ours is refused. RQ would use a default of its own."""
    assert refusal({key: value for key, value in OURS.items() if key != field.encode()}) is Refusal.JOB_FIELDS


@pytest.mark.parametrize(
    "data",
    [
        call("os.system", None, "true"),
        call("waypost.lanes.job.drain_lane", None, 64),
        call("waypost.lanes.job.drain_lane", None, -1),
        call("waypost.lanes.job.drain_lane", None, "7"),
        call("waypost.lanes.job.drain_lane", None, True),
        call("waypost.lanes.job.drain_lane", None, 7, 8),
        call("waypost.lanes.job.drain_lane", None),
        call("waypost.lanes.job.drain_lane", "an object", 7),
        call("waypost.lanes.job.drain_lane", None, lane=7),
        call("waypost.lanes.job.install", None, 7),
        zlib.compress(json.dumps(["waypost.lanes.job.drain_lane", None, [7], {}]).encode() + b" "),
        zlib.compress(bytes(4 * 1024 * 1024))[:LONGEST_VALUE],
        OURS[b"data"] + b"more",
        OURS[b"data"][:-1],
        b"\x80\x04\x95cos\nsystem\n.",
    ],
)
def test_another_call_is_refused(data: bytes) -> None:
    """A job calls our function with one lane, or it is refused. Nothing is unpacked that is longer than such a call."""
    assert refusal({**OURS, b"data": data}) is Refusal.JOB_FUNCTION


@pytest.mark.parametrize(
    ("given", "is_id"),
    [
        (b"6b0a4f5e-13b6-4e0a-9d0e-6f1a1c1f2a3b", True),
        (b"6B0A4F5E-13B6-4E0A-9D0E-6F1A1C1F2A3B", False),
        (b"6b0a4f5e-13b6-4e0a-9d0e-6f1a1c1f2a3b\n", False),
        (b"15551234567", False),
        (b"a:b", False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_only_ids_of_rq_are_ids(given: bytes, is_id: bool) -> None:
    """An id is a UUID as RQ writes it, and nothing else."""
    assert is_job_id(given) is is_id


@pytest.mark.parametrize(
    ("member", "lane"),
    [
        (b"0", 0), (b"63", 63), (b"64", None), (b"-1", None), (b"007", None), (b"1.0", None), (b"1\n", None),
        (b"\xd9\xa1", None), (b"", None), (b"\xff", None), (None, None), (7, None),
    ],
)  # fmt: skip
def test_only_lanes_are_woken(member: object, lane: int | None) -> None:
    """A wake-up is a number of a lane, in the form in which we write it."""
    assert lane_of(member) == lane


def test_redis_returns_no_long_field(redis_server: EmbeddedRedis) -> None:
    """A job with a long field is refused without the field being read."""
    redis: Redis = wake.connect(redis_server.url)
    wake.enqueue(redis, [7])
    job_id = str(job.queue(redis).job_ids[0])
    redis.hset(f"rq:job:{job_id}", "worker_name", b"x" * 8 * 1024 * 1024)
    with pytest.raises(job.ForbiddenJob):
        job.LaneJob.fetch(job_id, connection=redis, serializer=JSONSerializer)
    assert redis.keys("rq:job:*") == []
