"""Tidies the queue in Redis. It replaces RQ's own maintenance.

RQ's maintenance runs callbacks of abandoned jobs, posts to their web addresses and starts jobs again. Ours only
removes what is over: an abandoned job need not run again, because the sweeper wakes the lanes that have work.
"""

import time
from collections.abc import Collection
from typing import Any, Final

from redis import Redis
from rq.worker_registration import REDIS_WORKER_KEYS

from waypost.lanes import foreign, job_check
from waypost.lanes.foreign import AT_ONCE, ENDED_KEYS, POPPED_KEY, STARTED_KEY, WORKERS_KEY
from waypost.lanes.job_check import Refusal

READS: Final = 10
"""Most reads of one key, of `AT_ONCE` entries each. The next call looks at others, because these are gone."""


def tidy(redis: Redis, popped_before: Collection[bytes]) -> set[bytes]:
    """Removes abandoned jobs, old results and workers that are gone. Returns the jobs that are about to start.

    `popped_before` is what the last call returned. A job that still has not started since then was abandoned. Raises
    `redis.RedisError`.
    """
    foreign.repair(redis)
    now = time.time()
    for key in ENDED_KEYS:
        redis.zremrangebyscore(key, "-inf", now)
    with foreign.bounded(redis, STARTED_KEY):
        _remove_abandoned(redis, now)
    with foreign.bounded(redis, WORKERS_KEY):
        _forget_workers(redis)
    popped: set[bytes] = set()
    with foreign.bounded(redis, POPPED_KEY):
        _read_popped(redis, popped_before, popped)
    return popped


def _remove_abandoned(redis: Redis, now: float) -> None:
    for _ in range(READS):
        entries: list[Any] = redis.zrangebyscore(STARTED_KEY, "-inf", now, start=0, num=AT_ONCE)
        for entry in entries:
            job_id = entry.partition(b":")[0]
            if job_check.is_job_id(job_id):
                foreign.remove_job(redis, job_id)
            else:
                foreign.count(Refusal.JOB_ID)
        if entries:
            redis.zrem(STARTED_KEY, *entries)
        if len(entries) < AT_ONCE:
            return


def _read_popped(redis: Redis, before: Collection[bytes], popped: set[bytes]) -> None:
    """Adds the jobs that are about to start to `popped`. Removes those that were abandoned, and what is no job."""
    start = 0
    for _ in range(READS):
        entries: list[Any] = redis.lrange(POPPED_KEY, start, start + AT_ONCE - 1)
        for entry in set(entries):
            if not job_check.is_job_id(entry):
                foreign.refuse_id(redis, entry)
            elif entry in before:
                foreign.remove_job(redis, entry)
            else:
                popped.add(entry)
        if len(entries) < AT_ONCE:
            return
        start += sum(entry in popped for entry in entries)


def _forget_workers(redis: Redis) -> None:
    cursor = 0
    for _ in range(READS):
        answer: Any = redis.sscan(WORKERS_KEY, cursor, count=AT_ONCE)
        cursor, keys = answer
        with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.exists(key)
            there = dict(zip(keys, pipe.execute(), strict=True))
        foreign_keys = [key for key in keys if not key.startswith(foreign.WORKER_PREFIX)]
        for _key in foreign_keys:
            foreign.count(Refusal.WORKER)
        gone = {*foreign_keys, *(key for key in keys if not there[key])}
        if gone:
            redis.srem(WORKERS_KEY, *gone)
            redis.srem(REDIS_WORKER_KEYS, *gone)
        if not cursor:
            return
