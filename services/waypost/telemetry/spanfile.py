"""Writes finished spans as JSON lines, one file per process. `waypost dev` reads these files to show traces."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

LARGEST_BYTES = 32 * 1024 * 1024
"""A larger file is renamed to `….old` and replaces the previous one, so that a forgotten demo cannot fill the disk."""


def record(span: ReadableSpan) -> dict[str, object]:
    """Returns a span as JSON. Ids are in hex, and times are in nanoseconds since the epoch.

    `parent_id` is None for a root span.
    """
    context = span.get_span_context()
    assert context is not None
    parent = span.parent
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{parent.span_id:016x}" if parent else None,
        "service": span.resource.attributes.get("service.name"),
        "name": span.name,
        "kind": span.kind.name,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
        "events": [{"name": event.name, "attributes": dict(event.attributes or {})} for event in span.events],
        "links": [
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
            for link in span.links
        ],
    }


class FileExporter(SpanExporter):
    """Appends spans to the file `<folder>/<service>-<pid>.jsonl`.

    The file is opened on first use, so that a forked child has its own file.
    """

    def __init__(self, folder: Path, service: str) -> None:
        self._folder = folder
        self._service = service
        self._pid = 0
        self._file: IO[str] | None = None
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes the spans and flushes. On a full or read-only disk the spans are lost, and nothing is raised."""
        lines = "".join(json.dumps(record(span), separators=(",", ":")) + "\n" for span in spans)
        with self._lock:
            try:
                file = self._open()
                file.write(lines)
                file.flush()
            except OSError:
                return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _open(self) -> IO[str]:
        path = self._folder / f"{self._service}-{os.getpid()}.jsonl"
        if self._file is not None and self._pid == os.getpid():
            if self._file.tell() < LARGEST_BYTES:
                return self._file
            self._file.close()
            path.replace(path.with_suffix(".jsonl.old"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._pid = os.getpid()
        return self._file

    def shutdown(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._file is not None and self._pid == os.getpid():
                self._file.close()
            self._file = None

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the base class has it
        """Returns True, because every export has flushed already."""
        return True


def read(folder: Path) -> Iterator[dict[str, object]]:
    """Yields the spans in `folder`, in no particular order. Skips an incomplete last line."""
    for path in sorted(folder.glob("*.jsonl*")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)
