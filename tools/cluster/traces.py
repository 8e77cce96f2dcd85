"""Reads the spans that the cluster's collector received. Returns them as records that `waypost dev` can draw."""

import json
from collections.abc import Iterator
from typing import Any

from tools.machine import run

NAMESPACE = "observability"
"""The collector's namespace; see collector.yaml."""
FILE = "/traces/spans.jsonl"
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


def read_spans() -> list[dict[str, Any]]:
    """Returns every span that the collector has written."""
    # Only complete lines: the last one may be half written.
    lines = _run_in_reader("sh", "-c", f"head --lines=$(wc --lines < {FILE}) {FILE}")
    return [record for line in lines.splitlines() for record in span_records(json.loads(line))]


def read_raw() -> str:
    """Returns the collector's file unparsed, so that a test can search it for secrets."""
    return _run_in_reader("cat", FILE)


def span_records(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the spans of one OTLP/JSON request, in the shape of `waypost.telemetry.spanfile.record`."""
    for resource in request.get("resourceSpans", ()):
        service = _attributes(resource.get("resource", {}).get("attributes", ())).get("service.name")
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield {
                    "trace_id": span["traceId"],
                    "span_id": span["spanId"],
                    "parent_id": span.get("parentSpanId") or None,
                    "service": service,
                    "name": span["name"],
                    "kind": KINDS[span.get("kind", 0)],
                    "start_ns": int(span["startTimeUnixNano"]),
                    "end_ns": int(span["endTimeUnixNano"]),
                    "status": STATUSES[span.get("status", {}).get("code", 0)],
                    "attributes": _attributes(span.get("attributes", ())),
                    "events": [
                        {"name": event["name"], "attributes": _attributes(event.get("attributes", ()))}
                        for event in span.get("events", ())
                    ],
                    "links": [
                        {"trace_id": link["traceId"], "span_id": link["spanId"]} for link in span.get("links", ())
                    ],
                }


def _run_in_reader(*command: str) -> str:
    # The collector's own image has no shell; `reader` is a container beside it that shares its volume.
    return run(
        "kubectl", "--namespace", NAMESPACE, "exec", "deployment/collector", "--container", "reader", "--", *command
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values()), None) for each in pairs}
