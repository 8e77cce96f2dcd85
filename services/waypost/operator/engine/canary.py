"""Proves that the operator works: it changes a small object of its own and must see the change in its watch.

The change is seen only if the API server accepts the write, the watch stream still delivers events, and the
event loop runs. A running process alone proves none of these. If watch streams end and are never opened
again, an operator stops working without a trace (kopf issues 957, 1145 and 1276). The liveness probe
therefore asks the canary.
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
"""Name of the ConfigMap in the release namespace."""
MANAGER = "waypost-operator-canary"
BEAT = f"{GROUP}/beat"
"""Annotation that each beat changes. A beat is one change of the ConfigMap."""

BEAT_S = 20.0
LONGEST_SILENCE_S = 120.0
"""Seconds without an event of the canary after which a new process is needed. A dead watch stream is noticed after 70 s
and opened again, so it does not take that long."""


class Canary:
    """Changes the canary's ConfigMap (`beat`) and records the events of the ConfigMap (`seen`).

    `unhealthy` answers the liveness probe.
    """

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
        """Seconds since the last event of the canary, or since the start if there was no event yet."""
        return self._clock() - self._last_seen

    def is_canary(self, namespace: str, name: str) -> bool:
        """Returns whether the ConfigMap with this namespace and name is the canary."""
        return (namespace, name) == (self._namespace, NAME)

    def seen(self) -> None:
        """Records that an event of the canary has arrived."""
        self._last_seen = self._clock()

    def unhealthy(self) -> str | None:
        """Returns one line that says what is wrong, or None. It may be called from any thread."""
        silence_s = self.silence_s
        if silence_s <= LONGEST_SILENCE_S:
            return None
        return f"nothing was seen through the watch for {silence_s:.0f} s"

    async def run(self) -> None:
        """Changes the ConfigMap periodically until this task is cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_S)

    async def beat(self) -> None:
        """Changes the ConfigMap once.

        Failures are logged once per outage. If they continue, the liveness probe fails.
        """
        self._count += 1
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": self._namespace,
                "labels": {WATCHED: "true", "app.kubernetes.io/managed-by": "waypost"},
                # With the time, the first beat of a process differs from all those of the process before it.
                "annotations": {BEAT: f"{time.time_ns() // 1_000_000}-{self._count}"},
            },
        }
        try:
            await self._cluster.apply(manifest, manager=MANAGER)
        except ClusterError as error:
            self._outage.failed(error, reason=str(error))
        else:
            self._outage.answered()
