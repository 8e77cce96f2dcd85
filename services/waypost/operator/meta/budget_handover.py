"""Hands the call budget (`budget.py`) from one operator process of a release to the next.

The record is one ConfigMap. A process writes the record when it begins and at its orderly end. Each write
succeeds only if the record is still at the version that this process last read or wrote. Therefore only one
process uses a remainder. And once the next process has begun, the previous one can no longer leave a
remainder.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from waypost.operator.cluster.interface import Cluster, Manifest
from waypost.operator.cluster.registry_shards import LABELS
from waypost.operator.meta.budget import HOUR_S, Budget, Remaining, initial_grant

NAME = "waypost-operator-starts"
"""Name of the ConfigMap in the release namespace."""
MANAGER = "waypost-operator"
KEY = "record"
KEPT = 32
"""Most grants that are recorded. After so many grants within an hour, the next grant is close to zero."""
OVERLAP_S = 60.0
"""Seconds for which a process that was replaced by force may work beside the next process: a pod's grace period."""
AHEAD_S = 24 * HOUR_S
"""Longest time, in seconds, that a record may be dated in the future. A record further ahead is not trusted, because it
would have an effect for that long."""


class Record(msgspec.Struct, frozen=True):
    """The record that earlier processes left for this one."""

    at: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """When the record was written, in seconds since 1970. It never goes back, even if a node's clock does."""
    grants: Annotated[tuple[float, ...], msgspec.Meta(max_length=KEPT)] = ()
    """Times at which processes began with an initial grant, within the last hour before `at`; in seconds since 1970."""
    left: Remaining | None = None
    """The remainder at the orderly end of the previous process; None if it did not end in an orderly way."""


@dataclass(frozen=True)
class Opening:
    """The way in which a process begins.

    The process writes `record`. Then it opens its budget with `left`, which is `age_s` seconds old.
    """

    record: Record
    left: Remaining
    age_s: float


def opening_after(found: Record, now: float) -> Opening:
    """Returns how a process begins after it has found the record `found`. The function has no side effects.

    A grant counts for somewhat longer than an hour, and its refill begins late. The reason is that the previous
    process may still be at work.
    """
    now = max(now, found.at)
    grants = tuple(at for at in found.grants if at > now - HOUR_S - OVERLAP_S)
    if found.left is not None:
        return Opening(Record(now, grants), found.left, now - found.at)
    return Opening(Record(now, (*grants, now)[-KEPT:]), initial_grant(len(grants)), -OVERLAP_S)


def read(content: bytes, now: float) -> Record:
    """Returns the record that a ConfigMap holds. The function has no side effects.

    If the content cannot come from an operator process, returns a record that says that all grants have been
    made.
    """
    try:
        found = msgspec.json.decode(content, type=Record)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if found is None or found.at > now + AHEAD_S or any(at > found.at for at in found.grants):
        return Record(grants=(now,) * KEPT)
    return found


class BudgetHandover:
    """Opens the `budget` of this process when the process begins. Hands over the remainder when the process ends.

    `clock` is the wall clock and only gives the date of the beginning. `steady` is a clock that never jumps.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        calls_per_hour: int,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = Budget(calls_per_hour, steady)
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock
        self._steady = steady
        self._begun: Record | None = None
        self._begun_at = 0.0
        self._version = ""
        self._writing = asyncio.Lock()

    async def begin(self) -> None:
        """Records that the process begins, and opens its budget. Raises `ClusterError`.

        If this method is called again, it does nothing.
        """
        async with self._writing:
            if self._begun is not None:
                return
            now = self._clock()
            stored = await self._cluster.config_map(self._namespace, NAME)
            content = None if stored is None else stored.data.get(KEY)
            chosen = opening_after(Record() if content is None else read(content, now), now)
            await self._write(chosen.record, None if stored is None else stored.resource_version)
            self._begun, self._begun_at = chosen.record, self._steady()
            self.budget.open(chosen.left, age_s=chosen.age_s)

    async def end(self) -> None:
        """Closes the budget and records the remaining calls.

        Raises `ClusterError`. In that case the next process begins with an initial grant.
        """
        left = self.budget.close()
        if left is None or self._begun is None:
            return
        at = self._begun.at + self._steady() - self._begun_at
        await self._write(Record(at, self._begun.grants, left), self._version)

    async def _write(self, record: Record, version: str | None) -> None:
        """Writes the record if the ConfigMap is still at `version`. Raises `ClusterConflict` if it has changed."""
        metadata = {"name": NAME, "namespace": self._namespace, "labels": {**LABELS}}
        manifest: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        manifest["data"] = {KEY: msgspec.json.encode(record).decode()}
        if version is None:
            written = await self._cluster.create(manifest)
        else:
            metadata["resourceVersion"] = version
            written = await self._cluster.apply(manifest, manager=MANAGER)
        self._version = written["metadata"]["resourceVersion"]
