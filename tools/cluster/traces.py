"""What the collector of the cluster received, as the records that `waypost dev` draws its trees from."""

import json
from collections.abc import Iterator
from typing import Any

from tools.machine import run

NAMESPACE = "observability"
"""The collector's; see collector.yaml."""
FILE = "/traces/spans.jsonl"
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")


def received() -> list[dict[str, Any]]:
    """Every span that the collector holds."""
    # Whole lines: the last one may be in the middle of being written.
    lines = _beside_the_collector("sh", "-c", f"head --lines=$(wc --lines < {FILE}) {FILE}")
    return [record for line in lines.splitlines() for record in records(json.loads(line))]


def raw() -> str:
    """The same as text, byte by byte as it was received: what must hold no secret."""
    return _beside_the_collector("cat", FILE)


def _beside_the_collector(*command: str) -> str:
    return run(
        "kubectl", "--namespace", NAMESPACE, "exec", "deployment/collector", "--container", "reader", "--", *command
    )


def records(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The spans of one OTLP request in JSON, in the shape of `waypost.telemetry.spanfile.record`."""
    for resource in request.get("resourceSpans", ()):
        service = _values(resource.get("resource", {}).get("attributes", ())).get("service.name")
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
                    "attributes": _values(span.get("attributes", ())),
                    "events": [
                        {"name": event["name"], "attributes": _values(event.get("attributes", ()))}
                        for event in span.get("events", ())
                    ],
                    "links": [
                        {"trace_id": link["traceId"], "span_id": link["spanId"]} for link in span.get("links", ())
                    ],
                }


def _values(attributes: Any) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values()), None) for each in attributes}
