"""How often the operator began within the last hour, and what it may therefore begin with; see `budget.py`."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable

from waypost.operator.budget import FIRST_SHARE, HOUR_S
from waypost.operator.cluster import Cluster
from waypost.operator.publish import LABELS

NAME = "waypost-operator-starts"
"""ConfigMap in the release namespace; each operator writes it once."""
MANAGER = "waypost-operator"
KEY = "starts"
KEPT = 32
"""After so many within an hour a start begins with as good as nothing."""


def share_of_start(before: Iterable[float], now: float) -> float:
    """Of the hour's calls, what an operator that starts now may begin with; `before`: when others started. Pure.

    Halved by each start of the last hour, so that those of any hour sum up to less than `STARTS_SHARE`.
    """
    return FIRST_SHARE / 2.0 ** sum(1 for at in before if at > now - HOUR_S)


class Starts:
    """When the operators of one release began."""

    def __init__(self, cluster: Cluster, namespace: str, *, clock: Callable[[], float] = time.time) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock
        self._share: float | None = None
        self._writing = asyncio.Lock()

    async def share(self) -> float:
        """What this process may begin with; it is written down before it is told. Raises `ClusterError`."""
        async with self._writing:
            if self._share is None:
                now = self._clock()
                stored = await self._cluster.config_map(self._namespace, NAME)
                before = [at for at in _times(stored.data.get(KEY, b"") if stored else b"") if at > now - HOUR_S]
                await self._write([*before, now][-KEPT:])
                self._share = share_of_start(before, now)
            return self._share

    async def _write(self, starts: list[float]) -> None:
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": self._namespace, "labels": {**LABELS}},
            "data": {KEY: " ".join(str(math.ceil(at)) for at in starts)},
        }
        await self._cluster.apply(manifest, manager=MANAGER)


def _times(content: bytes) -> list[float]:
    """Whatever is no number, somebody else wrote."""
    return [float(word) for word in content.decode(errors="replace").split() if word.isdecimal()]
