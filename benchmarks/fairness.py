"""Measures how long a message of one number waits while another number misbehaves.

The time is compared with the time of the same number without a neighbour.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import msgspec
import uvloop
from sqlalchemy import text

from benchmarks import bots, deliveries, load
from benchmarks.row import Figures, Line, Row
from benchmarks.stage import Failed, Stage
from waypost.cloudapi.inbound import delivery
from waypost.cloudapi.inbound.delivery import Event
from waypost.contracts.registry import Number
from waypost.store import inbox

AT_ONCE = 1_000
RAISING, SLOW, ENDLESS, SENDING, UNKNOWN = ("10654000000000" + str(place) for place in range(1, 6))
LARGEST_MS = 300
"""Twice the p99 of a number alone, some 25 ms, and 250 ms (guarantee G10)."""


class Fairness(Row):
    """Compares a number beside one bad neighbour at a time with the same number alone. The number has a script."""

    name = "fairness"
    title = "A number beside a bad neighbour"
    ours_is = "p99 from receipt to done of a number with a script, 20 messages a second, beside each neighbour"
    theirs_is = "the same number alone"
    lines = (
        Line("alone_ms", "alone", "ms"),
        Line("unknown_ms", "5,000 events of a number that the workers do not know", "ms", at_most=LARGEST_MS),
        Line("raising_ms", "3,000 events of a plugin that always raises", "ms", at_most=LARGEST_MS),
        Line("slow_ms", "24 turns of a plugin that takes 9 s", "ms", at_most=LARGEST_MS),
        Line("endless_ms", "24 turns of a plugin that never returns", "ms", at_most=LARGEST_MS),
        Line("campaign_ms", "10,000 messages to send; to the reply, of which Graph takes 100", "ms", at_most=500),
        Line("hanging_ms", "200 calls to Graph that hang; to the reply, of which Graph takes 100", "ms", at_most=500),
    )
    sizes: ClassVar = {"unknown": 5_000, "raising": 3_000, "turns": 24, "sends": 10_000, "calls": 200, "seconds": 5}
    small: ClassVar = {"unknown": 500, "raising": 300, "turns": 6, "sends": 500, "calls": 20, "seconds": 1}

    def __init__(self, stage: Stage, sizes: Mapping[str, Any]) -> None:
        self._stage = stage
        self._sizes = sizes
        graph = stage.python("graph", "-m", "benchmarks.peers.graph", listens=True)
        stage.register(bots.ANSWERING)
        for number_id, plugin in ((RAISING, "raises"), (SLOW, "slow"), (ENDLESS, "endless"), (SENDING, None)):
            stage.add(_number(number_id, plugin))
        self._webhook = stage.waypost("webhook")[0]
        url = f"http://127.0.0.1:{graph.port}"
        stage.waypost("worker", count=2, WAYPOST_GRAPH_URL=url, WAYPOST_BOT_PLUGINS="benchmarks.hostile.*")

    def ours(self) -> Figures:
        """Measures the number beside each neighbour in turn."""
        sizes = self._sizes
        figures: Figures = {}
        for name, number_id, count in (
            ("unknown", UNKNOWN, sizes["unknown"]),
            ("raising", RAISING, sizes["raising"]),
            ("slow", SLOW, sizes["turns"]),
            ("endless", ENDLESS, sizes["turns"]),
        ):
            with self._backlog(number_id, count):
                figures[f"{name}_ms"] = self._p99(_done)
        for name, first, count in (("campaign", "1777", sizes["sends"]), ("hanging", "1666", sizes["calls"])):
            with self._campaign(first, count):
                figures[f"{name}_ms"] = self._p99(_replied)
        return figures

    def theirs(self) -> Figures:
        """Measures the number alone."""
        return {"alone_ms": self._p99(_done)}

    def _p99(self, statement: Callable[[int], str]) -> float:
        """Delivers messages at 20 a second, waits until they are handled, and returns the p99 in milliseconds."""
        last = self._stage.scalar("SELECT coalesce(max(id), 0) FROM event")
        given = list(deliveries.deliveries(20 * self._sizes["seconds"], contacts=500))
        uvloop.run(load.pace(self._webhook.port, given, 20))
        times: list[float] = []

        def complete() -> bool:
            times[:] = self._stage.numbers(statement(last))
            return len(times) >= len(given)

        self._stage.wait(complete, what="the number's messages")
        if len(times) != len(given):
            raise Failed(f"of {len(given)} messages, {len(times)} were handled")
        return times[int(len(times) * 0.99)]

    @contextmanager
    def _backlog(self, number_id: str, count: int) -> Iterator[None]:
        """Stores a backlog of a neighbour and waits until its turns have begun. At the end, removes the rest of it."""
        given = deliveries.deliveries(count, contacts=count)
        events = [delivery.split(one.body, default_number=number_id)[0] for one in given]
        with self._stage.engine.begin() as connection:
            for first in range(0, len(events), AT_ONCE):
                some = [(_of(event, number_id), None) for event in events[first : first + AT_ONCE]]
                inbox.insert(connection, some, writer=0)
        # A sweep finds the events, and the plugins begin.
        time.sleep(3)
        yield
        with self._stage.engine.begin() as connection:
            connection.execute(
                text("UPDATE event SET state = 'done', finished_at = now() WHERE number_id = :n AND state = 'waiting'"),
                {"n": number_id},
            )

    @contextmanager
    def _campaign(self, first: str, count: int) -> Iterator[None]:
        """Queues messages of a neighbour and waits until they are sent. Afterwards removes those that are left."""
        with self._stage.engine.begin() as connection:
            connection.execute(text(_QUEUE), {"number": SENDING, "first": first, "count": count})
        time.sleep(3)
        yield
        with self._stage.engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE outbox SET state = 'failed', finished_at = now() WHERE number_id = :n AND state = 'queued'"
                ),
                {"n": SENDING},
            )


_QUEUE = """
    WITH added AS (
        INSERT INTO contact (number_id, wa_id)
        SELECT :number, :first || lpad(n::text, 7, '0') FROM generate_series(1, :count) AS n
        ON CONFLICT DO NOTHING RETURNING id
    ), opened AS (
        INSERT INTO conversation (number_id, contact_id, lane, window_expires_at)
        SELECT :number, id, 0, now() + interval '1 hour' FROM added RETURNING id
    )
    INSERT INTO outbox (number_id, conversation_id, priority, body)
    SELECT :number, id, 1, '{"type": "text", "text": {"body": "news"}}' FROM opened
"""


def _number(number_id: str, plugin: str | None) -> Number:
    path = None if plugin is None else f"benchmarks.hostile:{plugin}"
    return Number(
        namespace="neighbour",
        name=f"n{number_id}",
        phone_number_id=number_id,
        waba_id=deliveries.ACCOUNT,
        app_id=deliveries.APP,
        access_token=deliveries.TOKEN,
        bot_plugin=path,
    )


def _of(event: Event, number_id: str) -> Event:
    return msgspec.structs.replace(event, number_id=number_id)


def _done(last: int) -> str:
    return (
        "SELECT extract(epoch FROM finished_at - received_at)::float8 * 1000 FROM event"
        f" WHERE id > {last} AND number_id = '{deliveries.NUMBER}' AND state = 'done' ORDER BY 1"
    )


def _replied(last: int) -> str:
    return (
        "SELECT extract(epoch FROM outbox.finished_at - received_at)::float8 * 1000"
        " FROM outbox JOIN event ON event.id = event_id"
        f" WHERE event.id > {last} AND event.number_id = '{deliveries.NUMBER}' AND outbox.state = 'sent' ORDER BY 1"
    )
