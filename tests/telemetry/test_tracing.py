"""Tests that spans connect a delivery with its reply, and contain only allowed attributes."""

import ast
import contextlib
import json
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import waypost
from waypost.telemetry import spanfile, tracing

WORDS = "my canary words"
PRIVATE = ["393331234567", "wamid.HBgMMzkzMzMxMjM0NTY3FQIAEhgUM0E=", "EAAGm0PX4ZCpsBAKZCcanary", WORDS]


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tracing.Tracing]:
    """Writes traces into `tmp_path`, whatever the environment says."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    configured = tracing.configure("worker", tmp_path)
    yield configured
    configured.shutdown()
    tracing.configure("worker", None)


def written(traces: tracing.Tracing, folder: Path) -> list[dict[str, Any]]:
    """Returns all spans that ended, as they were written to files."""
    traces.provider.force_flush()
    return list(spanfile.read(folder))


@pytest.mark.parametrize("private", PRIVATE)
def test_no_span_holds_what_people_wrote(traces: tracing.Tracing, tmp_path: Path, private: str) -> None:
    """No span contains what people wrote.

    Its attributes, name, events, links, exceptions and status description are all scrubbed.
    """
    has_pattern = private != WORDS  # only the allow-list of attribute names stops free words
    linked = trace.Link(trace.SpanContext(1, 2, is_remote=True), {"text": private})
    tracer = tracing.tracer()
    with contextlib.suppress(LookupError), tracer.start_as_current_span("turn", links=[linked]) as span:
        span.set_attribute("text", private)
        span.set_attribute("http.url", f"https://graph.example/debug_token?input_token={private}")
        span.set_attribute("url.query", f"hub.verify_token={private}")
        if has_pattern:
            span.update_name(f"turn of {private}")
            span.set_attribute("waypost.reason", f"cannot reach {private}")
        span.add_event("said", {"text": private, "message.body": private})
        raise LookupError(private)
    (only,) = written(traces, tmp_path)
    assert private not in json.dumps(only)
    assert only["attributes"]["error.type"] == "LookupError"
    assert only["status"] == "ERROR"


def test_an_allowed_attribute_is_exported(traces: tracing.Tracing, tmp_path: Path) -> None:
    """An allowed attribute is exported, such as the phone number id.

    The phone number id identifies no person, and people search traces by it.
    """
    with tracing.tracer().start_as_current_span("turn") as span:
        span.set_attribute("waypost.number", "106540352242922")
        span.set_attribute("waypost.event_id", 12345678901)
    (only,) = written(traces, tmp_path)
    assert only["attributes"] == {"waypost.number": "106540352242922", "waypost.event_id": 12345678901}


def test_a_process_names_itself(traces: tracing.Tracing) -> None:
    """A process has a name, a version, and an instance id that no other process has."""
    resource = traces.provider.resource.attributes
    assert resource["service.name"] == "waypost-worker"
    assert resource["service.version"] == version("waypost")
    assert uuid.UUID(str(resource["service.instance.id"]))


def test_a_row_continues_the_trace_in_another_process(traces: tracing.Tracing, tmp_path: Path) -> None:
    """A row continues the trace in another process: the worker's turn is a child of the webhook's delivery."""
    with tracing.tracer().start_as_current_span("delivery", kind=SpanKind.SERVER):
        row = tracing.current_traceparent()
    with tracing.tracer().start_as_current_span("turn", context=tracing.context_from(row), kind=SpanKind.CONSUMER):
        pass
    spans = {span["name"]: span for span in written(traces, tmp_path)}
    assert spans["turn"]["trace_id"] == spans["delivery"]["trace_id"]
    assert spans["turn"]["parent_id"] == spans["delivery"]["span_id"]
    assert spans["delivery"]["service"] == "waypost-worker"


def test_a_status_links_back_to_the_send(traces: tracing.Tracing, tmp_path: Path) -> None:
    """The delivery of a status has its own trace, with a link to the trace that sent the message."""
    with tracing.tracer().start_as_current_span("send"):
        row = tracing.current_traceparent()
    link = tracing.link_to(row)
    assert link is not None
    with tracing.tracer().start_as_current_span("status", context=tracing.context_from(None), links=[link]):
        pass
    spans = {span["name"]: span for span in written(traces, tmp_path)}
    assert spans["status"]["trace_id"] != spans["send"]["trace_id"]
    assert spans["status"]["links"] == [{"trace_id": spans["send"]["trace_id"], "span_id": spans["send"]["span_id"]}]


@pytest.mark.parametrize(
    "unreadable", [None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "01-" + "a" * 32 + "-" + "b" * 16]
)
def test_an_unreadable_traceparent_starts_a_new_trace(unreadable: str | None) -> None:
    """An unreadable traceparent starts a new trace.

    A row that was written by hand or by a later version must not stop a turn.
    """
    assert tracing.link_to(unreadable) is None
    with tracing.tracer().start_as_current_span("outer"):
        span = tracing.tracer().start_span("turn", context=tracing.context_from(unreadable))
        assert span.get_span_context().trace_id != trace.get_current_span().get_span_context().trace_id
        span.end()


def test_ids_are_made_without_an_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace ids are made without an exporter, so that rows and log lines of a small installation can be joined too."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    configured = tracing.configure("webhook", None)
    assert not tracing.is_recording()
    with tracing.tracer().start_as_current_span("delivery") as span:
        assert not span.is_recording()
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", tracing.current_traceparent() or "")
    assert tracing.current_traceparent() is None
    configured.shutdown()


def test_the_environment_sets_the_sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment sets the sampler, so that a busy installation records only a sample.

    The spans that are not recorded still have ids.
    """
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    configured = tracing.configure("webhook", tmp_path)
    with tracing.tracer().start_as_current_span("delivery"):
        assert tracing.current_traceparent() is not None
    assert written(configured, tmp_path) == []
    configured.shutdown()


def test_a_trace_folder_that_cannot_be_written_loses_spans_only(traces: tracing.Tracing, tmp_path: Path) -> None:
    """If the trace folder cannot be written, only spans are lost. Telemetry must never stop the work."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    exporter = spanfile.FileExporter(blocked / "below-a-file", "worker")
    assert exporter.export([]).name == "FAILURE"


def test_after_a_failed_export_there_is_a_pause(traces: tracing.Tracing) -> None:
    """After a failed export there is a pause before the next attempt.

    Otherwise each batch would try for seconds and would also delay the end of a process.
    """

    class Unreachable(InMemorySpanExporter):
        calls = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.calls += 1
            return SpanExportResult.FAILURE

    now, unreachable = [0.0], Unreachable()
    exporter = tracing.ScrubbingExporter(unreachable, clock=lambda: now[0])
    for _ in range(3):
        assert exporter.export([]) is SpanExportResult.FAILURE
    assert unreachable.calls == 1
    now[0] = tracing.PAUSE_S
    exporter.export([])
    assert unreachable.calls == 2


def test_a_collector_gets_spans_and_nothing_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector on loopback receives a real OTLP request with spans and nothing private."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        configured = tracing.configure("worker", None, export_timeout_s=600)
        with contextlib.suppress(LookupError), tracing.tracer().start_as_current_span("turn") as span:
            span.set_attributes({"waypost.kind": "message", "text": WORDS})
            raise LookupError(PRIVATE[0])
        configured.provider.force_flush()
        configured.shutdown()
        server.shutdown()
    wire = b"".join(received)
    assert b"waypost-worker" in wire
    assert b"LookupError" in wire
    assert [each for each in PRIVATE if each.encode() in wire] == []


def test_every_attribute_that_the_code_sets_is_allowed() -> None:
    """Every attribute that the code sets is allowed. An attribute outside the list would be dropped silently."""
    pattern = re.compile(r"(waypost|messaging|http|url|server|db|error)\.[a-z_]+(\.[a-z_]+)*")
    missing = set()
    for path in Path(waypost.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            pairs: list[ast.expr | None] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "set_attribute" and node.args:
                    pairs = [node.args[0]]
                for keyword in node.keywords:
                    if keyword.arg == "attributes" and isinstance(keyword.value, ast.Dict):
                        pairs += keyword.value.keys
                if node.func.attr == "set_attributes" and node.args and isinstance(node.args[0], ast.Dict):
                    pairs += node.args[0].keys
            for key in pairs:
                attribute = key.value if isinstance(key, ast.Constant) else None
                if isinstance(attribute, str) and pattern.fullmatch(attribute) and attribute not in tracing.ALLOWED:
                    missing.add(f"{path.name}: {attribute}")
    assert missing == set()
