"""Turns the spans that the services wrote into `WAYPOST_TRACE_DIR` into trees, one tree for each trace.

The code has no side effects.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = (
    "waypost.batch_size",
    "waypost.kind",
    "waypost.lane",
    "waypost.result",
    "waypost.status",
    "http.response.status_code",
    "error.type",
)
"""Attributes that the tree shows."""


@dataclass
class SpanNode:
    """A span with its children, which are ordered by their start."""

    name: str
    kind: str
    service: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Mapping[str, Any]
    children: list["SpanNode"] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """Duration of the span in milliseconds."""
        return (self.end_ns - self.start_ns) / 1e6

    @property
    def detail(self) -> str:
        """The attributes in `SHOWN`, each as `key=value`."""
        return " ".join(f"{key.rpartition('.')[2]}={self.attributes[key]}" for key in SHOWN if key in self.attributes)


def roots(spans: Iterable[Mapping[str, Any]]) -> list[SpanNode]:
    """Returns the roots of one trace. A span whose parent was not written is a root too."""
    nodes: dict[str, SpanNode] = {}
    parents: dict[str, str | None] = {}
    for span in spans:
        nodes[span["span_id"]] = SpanNode(
            name=str(span["name"]),
            kind=str(span["kind"]),
            service=str(span.get("service") or "?"),
            start_ns=int(span["start_ns"]),
            end_ns=int(span["end_ns"]),
            failed=span.get("status") == "ERROR",
            attributes=span.get("attributes") or {},
        )
        parents[span["span_id"]] = span.get("parent_id")
    top: list[SpanNode] = []
    for span_id, node in nodes.items():
        parent = nodes.get(parents[span_id] or "")
        (parent.children if parent is not None and parent is not node else top).append(node)
    for node in nodes.values():
        node.children.sort(key=lambda child: child.start_ns)
    return sorted(top, key=lambda node: node.start_ns)


def walk(nodes: Iterable[SpanNode]) -> Iterator[SpanNode]:
    """Yields every span. A parent comes before its children."""
    for node in nodes:
        yield node
        yield from walk(node.children)


def traces_since(spans: Iterable[Mapping[str, Any]], start_ns: int) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the spans of each trace that began at or after `start_ns`. The earliest trace comes first."""
    by_trace: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        by_trace.setdefault(str(span["trace_id"]), []).append(span)
    began = {trace: min(int(span["start_ns"]) for span in members) for trace, members in by_trace.items()}
    return {trace: by_trace[trace] for trace in sorted(by_trace, key=began.__getitem__) if began[trace] >= start_ns}
