"""Sets up tracing, with one provider per process.

The module also reads and writes the W3C context that rows carry between processes. Without an exporter no
span is recorded. Ids are still made, so that log lines and rows of one trace can be joined.
"""

import os
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, Status, TraceFlags, Tracer
from opentelemetry.util.types import Attributes

from waypost.telemetry import redaction
from waypost.telemetry.spanfile import FileExporter

ALLOWED = frozenset(
    {
        # Semantic conventions that cannot hold a query string, a header or a payload. `url.full` is not among them,
        # because Meta wants tokens in it, nor `url.path`, in which a bot's own calls may name people.
        "db.operation.batch.size",
        "db.operation.name",
        "db.system.name",
        "error.type",
        "exception.type",
        "http.request.body.size",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "messaging.batch.message_count",
        "messaging.destination.name",
        "messaging.destination.partition.id",
        "messaging.operation.name",
        "messaging.operation.type",
        "messaging.system",
        "network.protocol.version",
        "server.address",
        "server.port",
        "url.scheme",
        "url.template",
        # Our own
        "waypost.attempt",
        "waypost.batch_size",
        "waypost.code",
        "waypost.conversation_id",
        "waypost.duplicates",
        "waypost.effects",
        "waypost.error_code",
        "waypost.event_id",
        "waypost.events",
        "waypost.fence",
        "waypost.kind",
        "waypost.lane",
        "waypost.message_type",
        "waypost.name",
        "waypost.namespace",
        "waypost.number",
        "waypost.number_id",
        "waypost.outbox_id",
        "waypost.planned_at",
        "waypost.priority",
        "waypost.reason",
        "waypost.result",
        "waypost.retry_after_s",
        "waypost.state",
        "waypost.status",
        "waypost.verdict",
        "waypost.wait_s",
    }
)
"""Attribute names that may leave the process. All other attributes are dropped, including those that libraries set."""

PAUSE_S = 10.0
"""Seconds without another attempt after a failed export; the exporter itself has then tried for 3 s."""

_IDENTIFIERS = frozenset({"waypost.number", "waypost.number_id", "waypost.conversation_id", "waypost.event_id"})
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_KUBERNETES = {
    "k8s.pod.name": "POD_NAME",
    "k8s.namespace.name": "POD_NAMESPACE",
    "k8s.node.name": "NODE_NAME",
    "k8s.container.name": "CONTAINER_NAME",
}


def _safe(attributes: Attributes) -> dict[str, object]:
    safe: dict[str, object] = {}
    for name, given in (attributes or {}).items():
        if name not in ALLOWED:
            continue
        if isinstance(given, str) and name not in _IDENTIFIERS:
            safe[name] = redaction.text(given)
        elif isinstance(given, Sequence) and not isinstance(given, str):
            safe[name] = tuple(redaction.text(item) if isinstance(item, str) else item for item in given)
        else:
            safe[name] = given
    return safe


class ScrubbingExporter(SpanExporter):
    """Exports spans with allowed attributes only. Strings are redacted, and exceptions are reduced to their type.

    After a failure the exporter drops spans for `PAUSE_S`. A collector that is away then costs no work, and it
    does not delay the shutdown.
    """

    def __init__(self, exporter: SpanExporter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._exporter = exporter
        self._clock = clock
        self._pause_until = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Exports safe copies of the spans."""
        if self._clock() < self._pause_until:
            return SpanExportResult.FAILURE
        result = self._exporter.export([self._copy(span) for span in spans])
        if result is not SpanExportResult.SUCCESS:
            self._pause_until = self._clock() + PAUSE_S
        return result

    def _copy(self, span: ReadableSpan) -> ReadableSpan:
        attributes = _safe(span.attributes)
        events = [Event(redaction.text(e.name), _safe(e.attributes), e.timestamp) for e in span.events]  # type: ignore[arg-type]
        for event in events:
            if event.attributes and "exception.type" in event.attributes:
                attributes.setdefault("error.type", event.attributes["exception.type"])
        return ReadableSpan(
            name=redaction.text(span.name),
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,  # type: ignore[arg-type]
            events=events,
            links=[Link(link.context) for link in span.links],
            kind=span.kind,
            instrumentation_scope=span.instrumentation_scope,
            status=Status(span.status.status_code),  # its description is the exception's message
            start_time=span.start_time,
            end_time=span.end_time,
        )

    def shutdown(self) -> None:
        """Closes the wrapped exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flushes the wrapped exporter."""
        return self._exporter.force_flush(timeout_millis)


@dataclass
class Tracing:
    """The tracing of this process, as `configure` set it up."""

    provider: TracerProvider

    def shutdown(self) -> None:
        """Exports pending spans and stops. Spans that end afterwards are lost."""
        self.provider.shutdown()


_tracer: Tracer | None = None
_recording = False


def configure(service: str, trace_dir: Path | None, *, export_timeout_s: float = 3.0) -> Tracing:
    """Sets up the tracing of this process. If it is called again, the last call counts.

    Spans go to `OTEL_EXPORTER_OTLP_ENDPOINT` if that is set. They are also written as JSON lines into `trace_dir`
    if that is given. `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SDK_DISABLED` work
    as in OpenTelemetry. `export_timeout_s` is short. A collector that hangs may cause the loss of spans, but it
    must not use up the grace period.
    """
    attributes: dict[str, str | int] = {
        "service.name": f"waypost-{service}",
        "service.namespace": "waypost",
        "service.version": version("waypost"),
        "process.pid": os.getpid(),
    }
    attributes |= {name: os.environ[variable] for name, variable in _KUBERNETES.items() if os.environ.get(variable)}
    endpoint = any(
        os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )
    endpoint = endpoint and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none"
    recording = endpoint or trace_dir is not None
    provider = TracerProvider(
        # Without an exporter no span needs to be recorded; with one, OTEL_TRACES_SAMPLER decides.
        sampler=None if recording else ALWAYS_OFF,
        resource=Resource.create(attributes),
        shutdown_on_exit=True,
    )
    if endpoint:
        otlp = OTLPSpanExporter(timeout=export_timeout_s)
        provider.add_span_processor(
            BatchSpanProcessor(ScrubbingExporter(otlp), export_timeout_millis=export_timeout_s * 1000)
        )
    if trace_dir is not None:
        exporter = ScrubbingExporter(FileExporter(trace_dir, service))
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=150))
    global _tracer, _recording  # noqa: PLW0603 - one per process, like the root logger
    _recording = recording
    _tracer = provider.get_tracer("waypost", version("waypost"))
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        # For bot plugins that make spans of their own, which are scrubbed like ours.
        trace.set_tracer_provider(provider)
    return Tracing(provider)


def tracer() -> Tracer:
    """Returns the tracer of this process. Before `configure` is called, the tracer makes ids and records nothing."""
    global _tracer  # noqa: PLW0603
    if _tracer is None:
        _tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("waypost")
    return _tracer


def is_recording() -> bool:
    """Returns whether spans of this process are exported.

    If spans are not exported, a hot path needs only `new_traceparent`.
    """
    return _recording


def new_traceparent() -> str:
    """Returns the `traceparent` of a trace that is not recorded. Its ids join log lines and rows.

    The call costs a tenth of what a span costs.
    """
    # An id of 0, once in 2^64 calls, is invalid to W3C; the reader then starts a new trace.
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00"


def current_traceparent() -> str | None:
    """Returns the W3C `traceparent` of the current span, or None if there is no current span.

    It can be written into a row or an environment variable.
    """
    return traceparent_of(trace.get_current_span())


def traceparent_of(span: Span) -> str | None:
    """Returns the W3C `traceparent` of this span, or None if the span has no ids."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _span_context(traceparent: str | None) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def context_from(traceparent: str | None) -> Context:
    """Returns the context for a child span of `traceparent`.

    If `traceparent` is missing or unreadable, the context is empty. An empty context starts a new trace.
    """
    span = _span_context(traceparent)
    return trace.set_span_in_context(NonRecordingSpan(span), Context()) if span else Context()


def link_to(traceparent: str | None) -> Link | None:
    """Returns a link to the span of `traceparent`, or None if `traceparent` is missing or unreadable."""
    span = _span_context(traceparent)
    return Link(span) if span else None
