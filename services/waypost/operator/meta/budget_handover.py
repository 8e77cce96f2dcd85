"""What the operators of one release leave each other, so that together they stay within the hour; see `budget.py`.

One ConfigMap, written once when a process begins and once at its orderly end, each time at the version that it has read
or written before. So what is left is used by one process only, and one that another has overtaken leaves nothing.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from waypost.operator.cluster.interface import Cluster, Manifest
from waypost.operator.cluster.registry_secrets import LABELS
from waypost.operator.meta.budget import HOUR_S, Budget, Left, granted

NAME = "waypost-operator-starts"
"""ConfigMap in the release namespace."""
MANAGER = "waypost-operator"
KEY = "record"
KEPT = 32
"""After so many grants within an hour the next one is as good as nothing."""
OVERLAP_S = 60.0
"""A pod's grace period: one that was replaced by force may be at work that long beside the next one."""
AHEAD_S = 24 * HOUR_S
"""No clock that was right is that far ahead of this one, and what it dated would count for as long."""


class Record(msgspec.Struct, frozen=True):
    """What a process finds of those before it."""

    at: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """When it was written, in seconds since 1970. It never goes back, whatever a node's clock does."""
    grants: Annotated[tuple[float, ...], msgspec.Meta(max_length=KEPT)] = ()
    """When others began without knowing what was left, within the last hour before `at`."""
    left: Left | None = None
    """At the orderly end of the process before; None: it did not end, or not so."""


@dataclass(frozen=True)
class Beginning:
    """`record` is what to write down before `left`, which was so `age_s` ago, is used."""

    record: Record
    left: Left
    age_s: float


def beginning(found: Record, now: float) -> Beginning:
    """How to begin after `found`. Pure.

    A grant counts somewhat longer than an hour, and its refill begins late: whoever came before may still be at work.
    """
    now = max(now, found.at)
    grants = tuple(at for at in found.grants if at > now - HOUR_S - OVERLAP_S)
    if found.left is not None:
        return Beginning(Record(now, grants), found.left, now - found.at)
    return Beginning(Record(now, (*grants, now)[-KEPT:]), granted(len(grants)), -OVERLAP_S)


def read(content: bytes, now: float) -> Record:
    """What was written down. If no process wrote that, nothing is known of the hour: as if all was granted. Pure."""
    try:
        found = msgspec.json.decode(content, type=Record)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if found is None or found.at > now + AHEAD_S or any(at > found.at for at in found.grants):
        return Record(grants=(now,) * KEPT)
    return found


class Starts:
    """Opens the `budget` of this process at its begin, and closes it at its end.

    `clock` is that of the wall, by which only the begin is dated; `steady` never jumps.
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
        """Once per process: write down that it begins, and open its budget. Raises `ClusterError`."""
        async with self._writing:
            if self._begun is not None:
                return
            now = self._clock()
            stored = await self._cluster.config_map(self._namespace, NAME)
            content = None if stored is None else stored.data.get(KEY)
            chosen = beginning(Record() if content is None else read(content, now), now)
            await self._write(chosen.record, None if stored is None else stored.resource_version)
            self._begun, self._begun_at = chosen.record, self._steady()
            self.budget.open(chosen.left, age_s=chosen.age_s)

    async def end(self) -> None:
        """Close the budget and write down what is left of it. Raises `ClusterError`: then the next one gets a grant."""
        left = self.budget.close()
        if left is None or self._begun is None:
            return
        at = self._begun.at + self._steady() - self._begun_at
        await self._write(Record(at, self._begun.grants, left), self._version)

    async def _write(self, record: Record, version: str | None) -> None:
        """At that version and no other. Raises `ClusterConflict`, too."""
        metadata = {"name": NAME, "namespace": self._namespace, "labels": {**LABELS}}
        manifest: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        manifest["data"] = {KEY: msgspec.json.encode(record).decode()}
        if version is None:
            written = await self._cluster.create(manifest)
        else:
            metadata["resourceVersion"] = version
            written = await self._cluster.apply(manifest, manager=MANAGER)
        self._version = written["metadata"]["resourceVersion"]
