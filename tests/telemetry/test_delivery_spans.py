"""Tests the two spans of a delivery that is stored together with others, or that is not stored."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from waypost.store.connection import database as store_database
from waypost.telemetry import spanfile, tracing

from ..webhook import posts
from ..webhook.service import publish_number, serving
from .way import Record, violations

pytestmark = pytest.mark.anyio


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracing.Tracing]:
    """Writes traces into `tmp_path/traces`, whatever the environment says."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    configured = tracing.configure("webhook", tmp_path / "traces")
    yield configured
    configured.shutdown()
    tracing.configure("tests", None)


async def delivered(
    traces: tracing.Tracing, engine: Engine, folder: Path, bodies: list[bytes]
) -> tuple[list[int], list[Record]]:
    """Sends deliveries that arrive together, and returns their answers and spans."""
    publish_number(folder / "registry")
    async with serving(engine, folder / "registry") as webhook:
        answers = await asyncio.gather(*(webhook.post(body) for body in bodies))
    traces.provider.force_flush()
    return [answer.status_code for answer in answers], list(spanfile.read(folder / "traces"))


async def test_deliveries_of_one_commit_have_the_same_end(
    traces: tracing.Tracing, database: Engine, tmp_path: Path
) -> None:
    """If deliveries are stored in one commit, their spans end at the same time.

    Each trace shows when its events were durable and how many events were committed together.
    """
    bodies = [posts.delivery(posts.item(posts.wamid(), sender=f"1555{number:04}")) for number in range(20)]
    answers, spans = await delivered(traces, database, tmp_path, bodies)
    stored = [span for span in spans if span["name"] == "store inbox"]
    assert answers == [200] * 20
    assert len({span["trace_id"] for span in stored}) == 20
    commits = {span["end_ns"]: span["attributes"]["waypost.batch_size"] for span in stored}
    assert len(commits) < 20
    assert sum(commits.values()) == 20


async def test_a_delivery_that_is_refused_is_an_error_with_a_type(traces: tracing.Tracing, tmp_path: Path) -> None:
    """If a delivery is refused, two spans fail with an error type.

    The server's span fails because Meta got a 503. The inbox's span fails because the cause is there.
    """
    nowhere = store_database.connect("postgresql://nobody@/none?host=/nowhere", application="waypost-tests")
    answers, spans = await delivered(traces, nowhere, tmp_path, [posts.delivery(posts.item(posts.wamid()))])
    assert answers == [503]
    failed = {span["kind"]: (span["status"], span["attributes"]["error.type"]) for span in spans}
    assert failed == {"SERVER": ("ERROR", "503"), "PRODUCER": ("ERROR", "IntakeUnavailable")}
    assert [each for span in spans for each in violations(span)] == []
