"""Decides whether a job in Redis is exactly one that `job.job_for` writes.

A job is more than its function: RQ imports the callbacks that a job names, posts to its web addresses, repeats it
and starts jobs that depend on it. So the whole job is compared, field by field, before any part of it is used. A
field that RQ adds in a later version makes the job a foreign one, until it is listed here.
"""

import re
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from rq.serializers import JSONSerializer

from waypost.store.tables import LANES

FUNCTION: Final = "waypost.lanes.job.drain_lane"
"""The only function that a job may name."""

LONGEST_VALUE: Final = 512
"""Most bytes of one field. A name of a worker, with the host's name, is the longest."""


class Refusal(StrEnum):
    """Reasons why something in Redis is refused. They are values of a metric's label."""

    JOB_ID = "job-id"
    """The queue contains something that is not an id of a job."""
    JOB_TYPE = "job-type"
    """The key of the job is not a hash."""
    JOB_SIZE = "job-size"
    """A field of the job is longer than any of ours."""
    JOB_FIELDS = "job-fields"
    """The job has a field that ours do not have, lacks one, or has another value in it."""
    JOB_FUNCTION = "job-function"
    """The job calls another function, or calls ours with other arguments."""
    WAKE_UP = "wake-up"
    """A wake-up does not name a lane."""
    WORKER = "worker"
    """The list of workers contains something that is not a worker."""
    ENTRY_SIZE = "entry-size"
    """A key of the queue has an entry that is longer than any of ours. The whole key is removed."""
    KEY_TYPE = "key-type"
    """A key of the queue is not of the queue's type."""


_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_REQUIRED: Final[Mapping[bytes, bytes]] = {
    b"created_at": _TIME,
    b"data": rb".+",
    b"description": rb"drain lanes",
    b"enqueued_at": _TIME,
    b"failure_ttl": rb"3600",
    b"origin": rb"waypost",
    b"result_ttl": rb"60",
    b"status": rb"[a-z_]+",
    b"timeout": rb"60",
}
_OPTIONAL: Final[Mapping[bytes, bytes]] = {
    b"ended_at": rb"(?:%s)?" % _TIME,
    b"failure_callback_name": rb"",
    b"group_id": rb"",
    b"last_heartbeat": rb"(?:%s)?" % _TIME,
    b"retries_left": rb"[0-3]",
    b"retry_intervals": rb"\[0\]",
    b"started_at": rb"(?:%s)?" % _TIME,
    b"stopped_callback_name": rb"",
    b"success_callback_name": rb"",
    b"worker_name": rb"[A-Za-z0-9._-]*",
}
_VALUES: Final = {field: re.compile(pattern, re.DOTALL) for field, pattern in {**_REQUIRED, **_OPTIONAL}.items()}
FIELDS: Final = tuple(sorted(_VALUES))
"""The fields that a job of ours can have."""

_ID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _packed(lane: int) -> bytes:
    return bytes(JSONSerializer.dumps((FUNCTION, None, (lane,), {})))  # type: ignore[no-untyped-call]


_CALLS: Final = frozenset(_packed(lane) for lane in range(LANES))
_LONGEST_CALL: Final = max(map(len, _CALLS))


def is_job_id(given: bytes) -> bool:
    """Returns whether `given` is an id that RQ gives to a job."""
    return _ID.fullmatch(given) is not None


def refusal(fields: Mapping[bytes, bytes]) -> Refusal | None:
    """Returns why this hash of a job is not one of ours, or None if it is."""
    if not fields.keys() <= _VALUES.keys() or not _REQUIRED.keys() <= fields.keys():
        return Refusal.JOB_FIELDS
    if any(len(value) > LONGEST_VALUE for value in fields.values()):
        return Refusal.JOB_SIZE
    if not all(_VALUES[field].fullmatch(value) for field, value in fields.items()):
        return Refusal.JOB_FIELDS
    return None if _call(fields[b"data"]) in _CALLS else Refusal.JOB_FUNCTION


def lane_of(member: object) -> int | None:
    """Returns the lane that a wake-up names, or None if it names none."""
    if isinstance(member, bytes) and re.fullmatch(rb"0|[1-9][0-9]?", member) and int(member) < LANES:
        return int(member)
    return None


def _call(data: bytes) -> bytes | None:
    # 500 bytes can contain 500 KB, so no more is unpacked than a call of ours has.
    unpacking = zlib.decompressobj()
    try:
        call = unpacking.decompress(data, _LONGEST_CALL + 1)
    except zlib.error:
        return None
    return call if unpacking.eof and not unpacking.unused_data else None
