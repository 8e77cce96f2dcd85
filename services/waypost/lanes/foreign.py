"""Refuses and removes what another program wrote into the keys of the queue.

Everything in these keys is a hint that can be removed: the sweeper wakes lanes that have work. Each refusal is
counted, and logged by its reason alone, because the content may be anything.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import structlog
from redis import Redis
from redis.exceptions import InvalidResponse, ResponseError
from rq import Queue
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.worker import BaseWorker
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from waypost.lanes import job_check
from waypost.lanes.job_check import Refusal
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)

QUEUE: Final = "waypost"
"""The only RQ queue. With two, RQ would use BLPOP, and then a killed worker can lose a popped job (rq/rq#2236)."""

QUEUE_KEY: Final = f"{Queue.redis_queue_namespace_prefix}{QUEUE}"
"""The list in Redis that holds the ids of waiting jobs."""

POPPED_KEY: Final = f"{QUEUE_KEY}:intermediate"
"""The list in Redis that holds the ids of jobs between their removal from the queue and their start."""

WOKEN_KEY: Final = "waypost:woken"
"""The sorted set in Redis of the lanes that have work, each with the unix time at which it was first woken."""

WORKERS_KEY: Final = WORKERS_BY_QUEUE_KEY % QUEUE
STARTED_KEY: Final = StartedJobRegistry.key_template.format(QUEUE)
ENDED_KEYS: Final = tuple(each.key_template.format(QUEUE) for each in (FinishedJobRegistry, FailedJobRegistry))

TYPES: Final[Mapping[str, bytes]] = {
    QUEUE_KEY: b"list",
    POPPED_KEY: b"list",
    WOKEN_KEY: b"zset",
    STARTED_KEY: b"zset",
    **dict.fromkeys(ENDED_KEYS, b"zset"),
    REDIS_WORKER_KEYS: b"set",
    WORKERS_KEY: b"set",
    Queue.redis_queues_keys: b"set",
}
"""The types of the keys that all processes share."""

LOG_INTERVAL_S: Final = 60.0
"""Seconds between two log lines with the same reason, so that a flood of jobs is not a flood of lines."""

AT_ONCE: Final = 10
"""Most entries of one key that are read at once. Each can be as long as `redis_address.LONGEST_STRING`."""

INSPECTED: Final = 100
"""Most entries of one key that an inspection looks at."""

WORKER_PREFIX: Final = BaseWorker.redis_worker_namespace_prefix.encode()
"""The start of each entry in the list of workers."""

_READ_JOB: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {} end
if kind ~= 'hash' then return 'job-type' end
local count = redis.call('HLEN', KEYS[1])
if count > #ARGV - 1 then return 'job-fields' end
for i = 2, #ARGV do
  if redis.call('HSTRLEN', KEYS[1], ARGV[i]) > tonumber(ARGV[1]) then return 'job-size' end
end
local found = {}
for i = 2, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    found[#found + 1] = ARGV[i]
    found[#found + 1] = value
  end
end
if #found < 2 * count then return 'job-fields' end
return found
"""
"""Reads a job without reading any field that a job of ours does not have, or that is too long."""

Answer = TypeVar("Answer")

for _reason in Refusal:
    # A counter that exists from the start, so that its first increase is one.
    metrics.redis_refused_total.labels(_reason.value)

_lock = threading.Lock()
_logged: dict[Refusal, tuple[float, int]] = {}
"""For each reason, when it was logged last, and how many refusals followed."""


def count(reason: Refusal) -> None:
    """Counts a refusal, and logs it at most once per `LOG_INTERVAL_S`."""
    metrics.redis_refused_total.labels(reason.value).inc()
    now = time.monotonic()
    with _lock:
        last, since = _logged.get(reason, (-LOG_INTERVAL_S, 0))
        is_due = now - last >= LOG_INTERVAL_S
        _logged[reason] = (now, 0) if is_due else (last, since + 1)
    if is_due:
        log.error("refused what another program wrote into Redis", reason=reason.value, more=since)


def read_job(redis: Redis, job_id: bytes) -> dict[bytes, bytes] | Refusal:
    """Returns the fields of a job, or why it is not one of ours. The result is empty if there is no such job."""
    if not job_check.is_job_id(job_id):
        return Refusal.JOB_ID
    answer = redis.eval(_READ_JOB, 1, _job_key(job_id), job_check.LONGEST_VALUE, *job_check.FIELDS)
    if isinstance(answer, bytes):
        return Refusal(answer.decode())
    fields = dict(zip(answer[::2], answer[1::2], strict=True))
    return (job_check.refusal(fields) or fields) if fields else {}


def remove_job(redis: Redis, job_id: bytes) -> None:
    """Removes a job and all that RQ stores with it, so that it does not come again."""
    key = _job_key(job_id)
    keys = [key, key + b":dependents", b"rq:job::" + job_id + b":dependencies", b"rq:executions:" + job_id]
    with redis.pipeline(transaction=False) as pipe:
        pipe.unlink(*keys, b"rq:results:" + job_id)
        pipe.lrem(POPPED_KEY, 0, job_id)  # type: ignore[arg-type]
        pipe.execute(raise_on_error=False)


def refuse_id(redis: Redis, entry: bytes) -> None:
    """Removes an entry that is not an id of a job from the list of jobs that are about to start, and counts it."""
    redis.lrem(POPPED_KEY, 0, entry)  # type: ignore[arg-type]
    count(Refusal.JOB_ID)


@contextmanager
def bounded(redis: Redis, key: str) -> Iterator[None]:
    """Goes on after this context if an entry that was read in it is too long. Then removes `key` and counts it.

    The entry itself cannot be removed alone, because it was not read.
    """
    try:
        yield
    except InvalidResponse:
        redis.unlink(key)
        count(Refusal.ENTRY_SIZE)


def repair(redis: Redis, types: Mapping[str, bytes] = TYPES) -> int:
    """Removes the keys that are not of their type. Returns how many. Raises `redis.RedisError`.

    Otherwise one key of a wrong type would stop all wake-ups.
    """
    wrong = _wrong_types(redis, types)
    if wrong:
        redis.unlink(*wrong)
    for _ in wrong:
        count(Refusal.KEY_TYPE)
    return len(wrong)


def repaired(redis: Redis, action: Callable[[], Answer], types: Mapping[str, bytes] = TYPES) -> Answer:
    """Returns what `action` returns. If Redis answers with an error, repairs the keys and tries once more."""
    try:
        return action()
    except ResponseError:
        repair(redis, types)
        return action()


def inspect(redis: Redis) -> Counter[Refusal]:
    """Returns what would be refused among the first `INSPECTED` entries of each key that workers read.

    Changes nothing. Raises `redis.RedisError`.
    """
    wrong = _wrong_types(redis, TYPES)
    found = Counter({Refusal.KEY_TYPE: len(wrong)} if wrong else {})
    for key, refusal_of in _ENTRIES.items():
        if key in wrong:
            continue
        try:
            refusals = [refusal_of(redis, entry) for entry in itertools.islice(_entries(redis, key), INSPECTED)]
        except InvalidResponse:
            refusals = [Refusal.ENTRY_SIZE]
        found.update(refusal for refusal in refusals if refusal is not None)
    return found


def _job_refusal(redis: Redis, entry: bytes) -> Refusal | None:
    read = read_job(redis, entry)
    return read if isinstance(read, Refusal) else None


def _id_refusal(_redis: Redis, entry: bytes) -> Refusal | None:
    return None if job_check.is_job_id(entry.partition(b":")[0]) else Refusal.JOB_ID


def _lane_refusal(_redis: Redis, entry: bytes) -> Refusal | None:
    return Refusal.WAKE_UP if job_check.lane_of(entry) is None else None


def _worker_refusal(_redis: Redis, entry: bytes) -> Refusal | None:
    return None if entry.startswith(WORKER_PREFIX) else Refusal.WORKER


_ENTRIES: Final[Mapping[str, Callable[[Redis, bytes], Refusal | None]]] = {
    QUEUE_KEY: _job_refusal,
    POPPED_KEY: _id_refusal,
    WOKEN_KEY: _lane_refusal,
    STARTED_KEY: _id_refusal,
    WORKERS_KEY: _worker_refusal,
}
"""The keys whose entries workers read, each with what says why an entry is refused."""


def _entries(redis: Redis, key: str) -> Iterator[bytes]:
    if TYPES[key] == b"set":
        yield from redis.sscan_iter(key, count=AT_ONCE)
        return
    read: Callable[[str, int, int], Any] = redis.lrange if TYPES[key] == b"list" else redis.zrange
    for start in itertools.count(0, AT_ONCE):
        entries: Iterable[bytes] = read(key, start, start + AT_ONCE - 1)
        if not entries:
            return
        yield from entries


def _wrong_types(redis: Redis, expected: Mapping[str, bytes]) -> list[str]:
    with redis.pipeline(transaction=False) as pipe:
        for key in expected:
            pipe.type(key)
        types = pipe.execute()
    return [key for key, type_ in zip(expected, types, strict=True) if type_ not in (b"none", expected[key])]


def _job_key(job_id: bytes) -> bytes:
    return b"rq:job:" + job_id
