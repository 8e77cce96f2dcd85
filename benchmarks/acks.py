"""Measures durable acknowledgements: each 200 means a committed row.

The figure is the ratio between the rate of such acknowledgements and the rate of a bare web server.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from benchmarks import deliveries, wrk
from benchmarks.row import Figures, Line, Row
from benchmarks.stage import Failed, Stage
from waypost.store import counts


class Acks(Row):
    """Compares `waypost webhook` with a bare Starlette route. wrk puts load on each of them in turn.

    PostgreSQL runs on the same machine as `waypost webhook`.
    """

    name = "acks"
    title = "Durable acknowledgements"
    ours_is = "`waypost webhook`: signature checked, split, committed in PostgreSQL, then 200"
    theirs_is = "a bare Starlette route that reads the body and answers 200"
    lines = (
        Line("per_second", "acks per second", "/s", ratio_at_least=0.5),
        Line("p50_ms", "p50, saturated", "ms"),
        Line("p99_ms", "p99, saturated", "ms"),
        Line("megabytes", "memory of the process", "MB", at_most=120),
    )
    sizes: ClassVar = {
        "seconds": 10,
        "connections": 64,
        "prepared_per_second": 18_000,
        "contacts": 20_000,
    }
    small: ClassVar = {
        "seconds": 2,
        "connections": 64,
        "prepared_per_second": 18_000,
        "contacts": 20_000,
    }

    def __init__(self, stage: Stage, sizes: Mapping[str, Any]) -> None:
        wrk.require()
        self._stage = stage
        self._sizes = sizes
        stage.register("benchmarks.bots:silent")
        self._webhook = stage.waypost("webhook")[0]
        self._bare = stage.python("bare starlette", "-m", "benchmarks.peers.bare", listens=True)
        self._accepted = 0

    def ours(self) -> Figures:
        """Measures the webhook under load, then checks its ledger.

        The database must have as many rows as the webhook sent 200s, and no row may be a duplicate.
        """
        load = self._load(self._webhook.port)
        if not load.lasted:
            raise Failed("the prepared deliveries did not last; raise prepared_per_second")
        self._stage.wait(lambda: self._check(load), what="the webhook to finish what wrk gave up on", deadline_s=10)
        return self._figures(load, self._webhook.peak_megabytes)

    def _check(self, load: wrk.Load) -> bool:
        """Returns whether every 200 that was sent has a row.

        The webhook itself counts the 200s, because wrk does not count requests that are still in flight at its end.
        """
        answered = self._acknowledged()
        with self._stage.engine.connect() as connection:
            stored = counts.by_number(connection)[deliveries.NUMBER]
        if stored.duplicate or answered > stored.received:
            raise Failed(f"{answered} acknowledged, but {stored.received} stored, {stored.duplicate} of them twice")
        if answered < stored.received:
            return False
        if self._stage.scalar("SELECT count(*) FROM event") != answered:
            raise Failed(f"{answered} acknowledged, but there are other rows than that")
        if answered - self._accepted < load.answers:
            raise Failed(f"wrk saw {load.answers} acknowledgements, the webhook {answered - self._accepted}")
        self._accepted = answered
        return True

    def _acknowledged(self) -> int:
        metrics = self._stage.http.get(self._webhook.metrics).raise_for_status().text
        for line in metrics.splitlines():
            if line.startswith('waypost_deliveries_total{status="200"}'):
                return int(float(line.rpartition(" ")[2]))
        return 0

    def theirs(self) -> Figures:
        """Measures the bare Starlette route under the same load."""
        return self._figures(self._load(self._bare.port), self._bare.peak_megabytes)

    def _load(self, port: int) -> wrk.Load:
        prepared = deliveries.deliveries(
            self._sizes["prepared_per_second"] * self._sizes["seconds"], contacts=self._sizes["contacts"]
        )
        return wrk.run(
            self._stage.folder / "requests",
            prepared,
            port,
            seconds=self._sizes["seconds"],
            connections=self._sizes["connections"],
        )

    @staticmethod
    def _figures(load: wrk.Load, megabytes: float) -> Figures:
        return {
            "per_second": load.per_second,
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
            "megabytes": megabytes,
            "answers": load.answers,
        }
