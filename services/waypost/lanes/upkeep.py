"""Tidies the queue in Redis. It replaces RQ's own maintenance.

RQ's maintenance runs callbacks of abandoned jobs, posts to their web addresses and starts jobs again. Ours only
removes what is over: an abandoned job need not run again, because the sweeper wakes the lanes that have work.
"""

import time
from collections.abc import Collection
from typing import Any, Final

from redis import Redis
from redis.exceptions import InvalidResponse
from rq.worker_registration import REDIS_WORKER_KEYS

from waypost.lanes import foreign, job_check
from waypost.lanes.foreign import ENDED_KEYS, POPPED_KEY, STARTED_KEY, WORKERS_KEY

AT_ONCE: Final = 100
"""Most entries of one key that are looked at. The next call looks at others, because these are gone."""


def tidy(redis: Redis, popped_before: Collection[bytes]) -> set[bytes]:
    """Removes abandoned jobs, old results and workers that are gone. Returns the jobs that are about to start.

    `popped_before` is what the last call returned. A job that still has not started since then was abandoned. Raises
    `redis.RedisError`.
    """
    foreign.repair(redis)
    now = time.time()
    for key in ENDED_KEYS:
        redis.zremrangebyscore(key, 0, now)
    abandoned: list[Any] = redis.zrangebyscore(STARTED_KEY, 0, now, start=0, num=AT_ONCE)
    for entry in abandoned:
        _remove(redis, entry.partition(b":")[0])
    if abandoned:
        redis.zrem(STARTED_KEY, *abandoned)
    _forget_workers(redis)
    try:
        popped: set[Any] = set(redis.lrange(POPPED_KEY, 0, AT_ONCE - 1))
    except InvalidResponse:  # one entry is longer than any of ours
        redis.unlink(POPPED_KEY)
        return set()
    for job_id in popped:
        if job_id in popped_before or not job_check.is_job_id(job_id):
            foreign.remove_job(redis, job_id)
    return popped


def _remove(redis: Redis, job_id: bytes) -> None:
    if job_check.is_job_id(job_id):
        foreign.remove_job(redis, job_id)


def _forget_workers(redis: Redis) -> None:
    _, keys = redis.sscan(WORKERS_KEY, count=AT_ONCE)
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.exists(key)
        gone = [key for key, is_there in zip(keys, pipe.execute(), strict=True) if not is_there]
    if gone:
        redis.srem(WORKERS_KEY, *gone)
        redis.srem(REDIS_WORKER_KEYS, *gone)
