"""Measures the whole way from delivery to reply, with a Graph API that takes 100 ms.

Waypost is compared with the webhook that a newcomer would build.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import uvloop
from sqlalchemy import text

from benchmarks import bots, deliveries, load
from benchmarks.deliveries import Delivery
from benchmarks.row import Figures, Line, Row
from benchmarks.stage import Failed, Process, Stage

QUEUE = "newcomer"


@dataclass
class Side:
    """One side of the comparison: a webhook, its two workers, and the Graph API that they call."""

    stage: Stage
    graph: Process
    webhook: Process
    workers: Sequence[Process]

    def saturated(self, given: Sequence[Delivery]) -> float:
        """Sends all deliveries at once. Returns the replies per second.

        The time runs from the first delivery to Graph's last answer.
        """
        began = uvloop.run(load.saturate(self.webhook.port, given))
        answered = self._answered(began)
        return len(given) / (max(answered.values()) - min(began.values()))

    def paced(self, given: Sequence[Delivery], per_second: float) -> list[float]:
        """Sends deliveries at a fixed rate. Returns the response times in seconds, sorted.

        Each time runs from a delivery to Graph's answer to the reply.
        """
        began = uvloop.run(load.pace(self.webhook.port, given, per_second))
        answered = self._answered(began)
        return sorted(answered[identity] - began[identity] for identity in began)

    @property
    def megabytes(self) -> float:
        """Returns the memory of the larger worker."""
        return max(worker.peak_megabytes for worker in self.workers)

    def _answered(self, began: Mapping[str, float]) -> dict[str, float]:
        """Returns when Graph answered the reply to each delivery. Raises `Failed` unless each has exactly one reply."""
        wanted = len(began)
        self.stage.wait(lambda: self._count() >= wanted, what=f"{wanted} replies", deadline_s=300)
        taken = self._get("taken")
        deliveries_of = self._deliveries_of()
        for reply in taken:
            reply["text"] = deliveries_of.get(reply["correlation"], reply["text"])
        replies = Counter(reply["text"] for reply in taken)
        if replies != Counter(began.keys()):
            missing, twice = began.keys() - replies.keys(), [text for text, times in replies.items() if times > 1]
            raise Failed(f"of {wanted} deliveries {len(missing)} have no reply and {len(twice)} more than one")
        self._get("forget")
        return {reply["text"]: reply["answered"] for reply in taken}

    def _deliveries_of(self) -> dict[str, str]:
        """Returns the id of the delivery that each of Waypost's replies answers, by the reply's correlation.

        The newcomer's replies need no such look-up, because they repeat the delivery's id.
        """
        statement = "SELECT correlation::text, event_key FROM outbox JOIN event ON event.id = event_id"
        with self.stage.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(text(statement))}

    def _count(self) -> int:
        return int(self._get("answered"))

    def report_to(self, port: int) -> None:
        """Makes Graph report statuses to the webhook on `port`. With port 0, Graph reports no statuses."""
        self._get(f"report/{port}")

    def _get(self, path: str) -> Any:
        return self.stage.http.get(f"http://127.0.0.1:{self.graph.port}/{path}").raise_for_status().json()


class Replies(Row):
    """Compares `waypost webhook` and two `waypost worker` with threaded Flask and two stock `rq worker`."""

    name = "replies"
    title = "From delivery to reply"
    ours_is = "`waypost webhook` and two `waypost worker`, with a script that answers each message"
    theirs_is = "what a newcomer would build: threaded Flask, one RQ job per delivery, two stock `rq worker`"
    lines = (
        Line("per_second", "replies per second, saturated", "/s", ratio_at_least=50),
        Line("p50_ms", "p50 at the offered rate", "ms"),
        Line("p99_ms", "p99 at the offered rate", "ms", at_most=250),
        Line("with_statuses_per_second", "the same with 3 statuses per reply, all handled", "/s"),
        Line("megabytes", "memory of a worker", "MB", at_most=150),
    )
    sizes: ClassVar = {
        "deliveries": 5_000,
        "contacts": 2_500,
        "their_deliveries": 100,
        "offered_per_second": 20,
        "offered_seconds": 15,
    }
    small: ClassVar = {
        "deliveries": 600,
        "contacts": 300,
        "their_deliveries": 12,
        "offered_per_second": 20,
        "offered_seconds": 2,
    }

    def __init__(self, stage: Stage, sizes: Mapping[str, Any]) -> None:
        self._stage = stage
        self._sizes = sizes
        graph = stage.python("graph", "-m", "benchmarks.peers.graph", listens=True)
        url = f"http://127.0.0.1:{graph.port}"
        stage.register(bots.ANSWERING)
        webhook = stage.waypost("webhook")[0]
        workers = stage.waypost("worker", count=2, WAYPOST_GRAPH_URL=url)
        self._waypost = Side(stage, graph, webhook, workers)
        flask = stage.python("flask", "-m", "benchmarks.peers.newcomer", listens=True, APP_SECRET=deliveries.SECRET)
        rq_workers = stage.rq_workers(QUEUE, GRAPH_URL=url, ACCESS_TOKEN=deliveries.TOKEN)
        self._newcomer = Side(stage, graph, flask, rq_workers)

    def ours(self) -> Figures:
        """Measures Waypost under saturation, at the offered rate, and under saturation while Graph reports statuses."""
        figures = self._both(self._waypost, self._sizes["deliveries"])
        figures["with_statuses_per_second"] = self._with_statuses()
        self._check()
        return figures

    def theirs(self) -> Figures:
        """Measures the newcomer's webhook under saturation and at the offered rate.

        There is no measurement with statuses, because this webhook ignores statuses.
        """
        return self._both(self._newcomer, self._sizes["their_deliveries"])

    def _both(self, side: Side, count: int) -> Figures:
        per_second = side.saturated(self._deliveries(count))
        offered = self._sizes["offered_per_second"]
        latencies = side.paced(self._deliveries(offered * self._sizes["offered_seconds"]), offered)
        return {
            "per_second": per_second,
            "p50_ms": statistics.median(latencies) * 1e3,
            "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
            "megabytes": side.megabytes,
        }

    def _deliveries(self, count: int) -> list[Delivery]:
        return list(deliveries.deliveries(count, contacts=self._sizes["contacts"]))

    def _with_statuses(self) -> float:
        side = self._waypost
        before = self._statuses_done()
        side.report_to(side.webhook.port)
        given = self._deliveries(self._sizes["deliveries"])
        began = time.monotonic()
        side.saturated(given)
        ended = self._stage.wait(
            lambda: self._statuses_done() - before >= 3 * len(given), what="all statuses to be handled"
        )
        side.report_to(0)
        return len(given) / (ended - began)

    def _statuses_done(self) -> int:
        return self._stage.scalar(
            "SELECT coalesce(sum(value), 0) - (SELECT count(*) FROM event WHERE kind = 'message' AND state = 'done')"
            " FROM daily_metric WHERE name = 'done'"
        )

    def _check(self) -> None:
        """Checks that every event was handled, every outbox row was sent, and every message has its statuses."""
        left = self._stage.scalar("SELECT count(*) FROM event WHERE state <> 'done' OR reason IS NOT NULL")
        unsent = self._stage.scalar("SELECT count(*) FROM outbox WHERE state <> 'sent'")
        unread = self._stage.scalar(
            "SELECT count(*) FROM message WHERE direction = 'out' AND jsonb_array_length(statuses) NOT IN (0, 3)"
        )
        if left or unsent or unread:
            raise Failed(f"{left} events not handled, {unsent} replies not sent, {unread} without all statuses")
