"""Tests of the parts of the demonstration.

They cover the trace as a tree, the text of a reply, and the reason of a failure.
"""

import io
from typing import Any

import pytest
from rich.console import Console

from waypost.dev import demonstration, trace_tree


def span(span_id: str, parent: str | None, start: int, **other: Any) -> dict[str, Any]:
    """Returns a span as the services write it."""
    return {
        "trace_id": "t1",
        "span_id": span_id,
        "parent_id": parent,
        "service": "webhook",
        "name": f"span {span_id}",
        "kind": "INTERNAL",
        "start_ns": start,
        "end_ns": start + 2_000_000,
        "status": "UNSET",
        "attributes": {},
        **other,
    }


def test_spans_become_a_tree_ordered_by_start() -> None:
    """Spans become a tree that is ordered by start. The processes write the spans in any order."""
    (root,) = trace_tree.roots([span("c", "a", 30), span("b", "a", 20), span("d", "b", 25), span("a", None, 10)])

    assert [node.name for node in trace_tree.walk([root])] == ["span a", "span b", "span d", "span c"]
    assert root.milliseconds == 2.0


def test_a_span_without_its_parent_is_a_root() -> None:
    """A span without its parent is a root. A process that was killed may not have written the parent."""
    assert [node.name for node in trace_tree.roots([span("b", "lost", 1), span("a", None, 2)])] == ["span b", "span a"]


def test_only_traces_that_began_since_then_count_and_the_earliest_comes_first() -> None:
    """Only traces that began at or after the given time are returned, and the earliest comes first.

    The folder also contains older traces.
    """
    spans = [
        span("a", None, 5, trace_id="old"),
        span("b", None, 30, trace_id="later"),
        span("c", None, 20, trace_id="first"),
        span("d", "a", 50, trace_id="old"),
    ]

    assert list(trace_tree.traces_since(spans, 10)) == ["first", "later"]


def test_a_failed_span_and_its_details_are_shown() -> None:
    """A failed span is marked and shown with its details. The user must see at a glance what went wrong."""
    (node,) = trace_tree.roots([span("a", None, 0, status="ERROR", attributes={"waypost.result": "failed", "x": 1})])

    assert node.failed
    assert node.detail == "result=failed"


def test_buttons_and_rows_are_shown_beside_the_text() -> None:
    """Buttons and rows are shown beside the text, because a user of WhatsApp sees them too."""
    result = demonstration.Exchange(
        question="Hello",
        answers=(
            demonstration.readable({"type": "text", "text": "[plain] words", "body": {"body": "…"}}),
            demonstration.readable(
                {
                    "type": "interactive",
                    "text": "Choose",
                    "body": {
                        "action": {
                            "buttons": [{"reply": {"title": "One"}}],
                            "sections": [{"rows": [{"title": "Two"}]}],
                        }
                    },
                }
            ),
            demonstration.readable({"type": "image", "text": "", "body": {}}),
        ),
        acknowledged_after_s=0.012,
        replied_after_s=0.1,
        trace_id=None,
        spans=(),
    )
    out = Console(file=io.StringIO(), width=100)
    demonstration.show(result, out)
    shown = out.file.getvalue()  # type: ignore[attr-defined]

    for expected in ("[plain] words", "Choose  [One]  [Two]", "(image)", "Acknowledged in 12 ms", "100 ms later"):
        assert expected in shown


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"attempts": [], "hint": "no app is subscribed"}, "no app is subscribed"),
        ({"attempts": [{"status": 503, "error": None}], "hint": None}, "503"),
        ({"attempts": [{"status": None, "error": "ConnectError"}], "hint": None}, "ConnectError"),
    ],
)
def test_a_delivery_that_was_not_acknowledged_gives_the_reason(answer: dict[str, Any], reason: str) -> None:
    """The error for a delivery that was not acknowledged gives the reason.

    A failed demonstration must say how far it got.
    """
    with pytest.raises(demonstration.NoReply, match=reason):
        demonstration.acknowledged_attempt(answer)
