"""Proof of life: the operator changes a small object of its own, and must see the change come back through its watch.

That takes writing to the API server, a watch stream that still delivers, and an event loop that turns; a process that
merely runs proves none of them. Streams that end and never come back are the way in which such operators die unseen
(kopf issues 957, 1145, 1276).
"""

import asyncio
import time
from collections.abc import Callable

from waypost.operator.api.number_models import GROUP
from waypost.operator.cluster.interface import Cluster, ClusterError
from waypost.operator.engine.selectors import WATCHED
from waypost.telemetry import metrics
from waypost.telemetry.outage import Outage

NAME = "waypost-operator-canary"
"""ConfigMap in the release namespace."""
MANAGER = "waypost-operator-canary"
BEAT = f"{GROUP}/beat"

BEAT_S = 20.0
LONGEST_SILENCE_S = 120.0
"""Longer than a watch stream takes to be noticed as dead (70 s) and opened again."""


class Canary:
    """`beat` touches the object, `seen` is told of its events, `unhealthy` is asked by the liveness probe."""

    def __init__(self, cluster: Cluster, namespace: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock
        self._count = 0
        self._last_seen = clock()
        self._outage = Outage(
            __name__, began="the canary cannot be touched", ended="the canary can be touched again", warns=True
        )
        metrics.canary_silence_seconds.set_function(lambda: self.silence_s)

    @property
    def silence_s(self) -> float:
        """Seconds since an event of it came; before the first one, since the start."""
        return self._clock() - self._last_seen

    def is_mine(self, namespace: str, name: str) -> bool:
        """Whether that ConfigMap is the canary."""
        return (namespace, name) == (self._namespace, NAME)

    def seen(self) -> None:
        """An event of it came."""
        self._last_seen = self._clock()

    def unhealthy(self) -> str | None:
        """One line on what is wrong, or None. May be called from any thread."""
        silence_s = self.silence_s
        if silence_s <= LONGEST_SILENCE_S:
            return None
        return f"nothing was seen through the watch for {silence_s:.0f} s"

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_S)

    async def beat(self) -> None:
        """Touch the object once. What goes wrong is told by the probe soon enough, and in the log once."""
        self._count += 1
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": self._namespace,
                "labels": {WATCHED: "true", "app.kubernetes.io/managed-by": "waypost"},
                # The start makes the first beat of a new process differ from the last one of the old.
                "annotations": {BEAT: f"{time.time_ns() // 1_000_000}-{self._count}"},
            },
        }
        try:
            await self._cluster.apply(manifest, manager=MANAGER)
        except ClusterError as error:
            self._outage.failed(error, reason=str(error))
        else:
            self._outage.answered()
