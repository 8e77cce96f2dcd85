"""Tests that real processes write one trace from a delivery to its reply. The spans are read from files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis
from waypost.telemetry import spanfile

from ..guarantees.installation import Installation
from ..ledger import Ledger
from .way import ANSWERED, Record, linked_to, steps, trace_id_of, violations, way_to_each_send

CONTACT = "15558675311"
SPANS = "traces"


@dataclass
class Exchange:
    """The spans of a message that was answered, and of another message whose reply Meta refused."""

    spans: list[Record]
    way: list[Record]
    received_ns: int
    """When the database stored the event, by its clock, which is this machine's."""


@pytest.fixture(scope="module")
def exchange(
    tmp_path_factory: pytest.TempPathFactory, short_folder: Path, free_port: Callable[[], int]
) -> Iterator[Exchange]:
    """Runs a webhook, a worker and the simulated Meta, and yields their spans.

    The webhook and the worker end before the tests, so that every span is written.
    """
    folder = tmp_path_factory.mktemp("way")
    postgres, redis = EmbeddedPostgres(short_folder / "wp"), EmbeddedRedis(short_folder / "wr")
    postgres.start()
    redis.start()
    running = Installation(folder, postgres, redis, free_port)
    try:
        running.publish()
        running.start("simulator")
        running.start("webhook-1", "worker-1")
        running.seed_meta()
        running.greet([CONTACT])
        running.quiesce()
        ledger = Ledger(running)
        ledger.deliver([ledger.message(CONTACT)], ["webhook-1"])
        running.quiesce()
        running.wait(lambda: _all_delivered(running, folder), what="the replies to be delivered")
        running.fault(match={"path": "messages"}, status=400, code=131026, times=1)
        ledger.deliver([ledger.message(CONTACT)], ["webhook-1"])
        running.quiesce()
        for process in ("webhook-1", "worker-1"):
            assert running.terminate(process) == 0
        with running.engine.connect() as connection:
            event = connection.execute(
                text("SELECT traceparent, extract(epoch FROM received_at) AS at FROM event WHERE event_key = :key"),
                {"key": ledger.acknowledged[0]},
            ).one()
        spans: list[Record] = list(spanfile.read(folder / SPANS))
        (way,) = way_to_each_send(spans, trace_id_of(event.traceparent))
        yield Exchange(spans, way, int(event.at * 1_000_000_000))
    finally:
        running.close()
        redis.stop()
        postgres.stop()


def _all_delivered(running: Installation, folder: Path) -> bool:
    """Returns whether each reply has a traced status `delivered`."""
    spans: list[Record] = list(spanfile.read(folder / SPANS))
    delivered = [span for span in spans if span["attributes"].get("waypost.status") == "delivered"]
    return len({link["trace_id"] for span in delivered for link in span["links"]}) == len(running.sent())


def test_one_trace_leads_from_the_delivery_to_the_send(exchange: Exchange) -> None:
    """One trace leads from the delivery to the send. Each of its spans is the child of the one before.

    The spans are: received, durable, handled, sent.
    """
    assert steps(exchange.way) == ANSWERED
    assert exchange.way[0]["parent_id"] is None


def test_the_inbox_span_says_when_the_event_was_durable(exchange: Exchange) -> None:
    """The inbox span shows when the event was durable.

    The database stored the event during this span, and the webhook answered after the span.
    """
    delivery, inbox, *_ = exchange.way
    assert delivery["start_ns"] <= inbox["start_ns"] <= exchange.received_ns <= inbox["end_ns"] <= delivery["end_ns"]
    assert inbox["end_ns"] - inbox["start_ns"] >= inbox["attributes"]["waypost.wait_s"] * 1e9


def test_a_status_is_linked_to_the_turn_that_made_the_send(exchange: Exchange) -> None:
    """A status is linked to the turn that sent the message. The wamid leads back to the send.

    A status arrives in a delivery of its own, so it has another trace.
    """
    turn = exchange.way[2]
    statuses = linked_to(exchange.spans, turn)
    assert {span["attributes"]["waypost.status"] for span in statuses} >= {"sent", "delivered"}
    assert {(span["kind"], span["name"]) for span in statuses} == {("CONSUMER", "process status")}
    assert turn["trace_id"] not in {span["trace_id"] for span in statuses}


def test_the_trace_of_a_status_begins_with_its_delivery(exchange: Exchange) -> None:
    """The trace of a status begins with the same spans as the trace of a message."""
    by_id = {span["span_id"]: span for span in exchange.spans}
    for status in linked_to(exchange.spans, exchange.way[2]):
        inbox = by_id[status["parent_id"]]
        assert steps([by_id[inbox["parent_id"]], inbox]) == ANSWERED[:2]


def test_every_span_follows_the_conventions(exchange: Exchange) -> None:
    """Every span follows the conventions, so that any backend can show HTTP calls, queues and errors.

    A refused send is one of the errors.
    """
    assert {span["kind"] for span in exchange.spans} == {"SERVER", "PRODUCER", "CONSUMER", "CLIENT"}
    errors = [span["attributes"]["error.type"] for span in exchange.spans if span["status"] == "ERROR"]
    assert errors == ["GraphRefused"]
    assert [each for span in exchange.spans for each in violations(span)] == []
