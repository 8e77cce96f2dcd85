"""Examines traces, which are records of spans that were written to files or received by a collector."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]
"""A span in the form of `waypost.telemetry.spanfile.record`."""

ANSWERED = [
    ("SERVER", "POST /webhooks/{namespace}/{name}", "waypost-webhook"),
    ("PRODUCER", "store inbox", "waypost-webhook"),
    ("CONSUMER", "process message", "waypost-worker"),
    ("CLIENT", "POST /{version}/{phone_number_id}/messages", "waypost-worker"),
]
"""Kind, name and service of the spans from a delivery to the reply, each the parent of the next."""

_MESSAGING = {
    "messaging.system",
    "messaging.destination.name",
    "messaging.operation.name",
    "messaging.operation.type",
}
REQUIRED = {
    "SERVER": {"http.request.method", "http.route", "url.scheme", "http.response.status_code"},
    "PRODUCER": _MESSAGING,
    "CONSUMER": _MESSAGING,
    "CLIENT": {"http.request.method", "server.address", "server.port"},
    "INTERNAL": set[str](),
}
"""Attributes that OpenTelemetry's conventions require of each kind of span, without those that may name people."""


def trace_id_of(traceparent: str) -> str:
    """Returns the trace id in a W3C `traceparent`."""
    return traceparent.split("-")[1]


def way_to_each_send(spans: Iterable[Record], trace_id: str) -> list[list[Record]]:
    """Returns, for each call of the Graph API in a trace, the spans from the root to that call.

    A call is left out if one of these spans is missing.
    """
    members = {span["span_id"]: span for span in spans if span["trace_id"] == trace_id}
    ways = []
    for span in members.values():
        if span["kind"] == "CLIENT":
            way = [span]
            while way[0]["parent_id"] in members:
                way.insert(0, members[way[0]["parent_id"]])
            if way[0]["parent_id"] is None:
                ways.append(way)
    return ways


def steps(way: Iterable[Record]) -> list[tuple[str, str, str]]:
    """Returns the kind, name and service of each span."""
    return [(span["kind"], span["name"], span["service"]) for span in way]


def linked_to(spans: Iterable[Record], target: Record) -> list[Record]:
    """Returns the spans that have a link to `target`."""
    link = {"trace_id": target["trace_id"], "span_id": target["span_id"]}
    return [span for span in spans if link in span["links"]]


def violations(span: Record) -> list[str]:
    """Returns how a span violates OpenTelemetry's conventions for HTTP and messaging."""
    attributes, name = span["attributes"], span["name"]
    found = [f"{span['kind']} without {each}" for each in REQUIRED[span["kind"]] - attributes.keys()]
    target = attributes.get("http.route") or attributes.get("url.template")
    if target and name != f"{attributes['http.request.method']} {target}":
        found.append("not named by method and route")
    if "messaging.operation.name" in attributes and not name.startswith(f"{attributes['messaging.operation.name']} "):
        found.append("not named by its operation")
    if re.search(r"\d{4}", name):
        found.append("a name that holds a value")
    failed = span["status"] == "ERROR"
    if failed != ("error.type" in attributes):
        found.append("an error without a type, or a type without an error")
    status = int(attributes.get("http.response.status_code", 200))
    if status >= (500 if span["kind"] == "SERVER" else 400) and not failed:
        found.append("a failed request that is no error")
    if span["end_ns"] < span["start_ns"]:
        found.append("an end before the start")
    return [f"{name}: {each}" for each in found]
