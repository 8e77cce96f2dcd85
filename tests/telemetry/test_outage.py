"""Tests that an outage is logged once, however often a call fails."""

from collections.abc import Callable
from typing import Any

from waypost.telemetry.outage import Outage

Lines = Callable[[], list[dict[str, Any]]]


def test_an_outage_is_one_line_and_its_end_another(log_lines: Lines) -> None:
    """The beginning of an outage is one log line, and its end another. A second outage is logged again."""
    outage = Outage("here", began="it is away", ended="it is back", warns=True)
    outage.answered()
    for _ in range(3):
        outage.failed(ConnectionError("canary"))
    outage.answered()
    outage.answered()
    outage.failed(TimeoutError("canary"))

    lines = log_lines()
    assert [(line["level"], line["event"], line.get("error")) for line in lines] == [
        ("warning", "it is away", "ConnectionError"),
        ("info", "it is back", None),
        ("warning", "it is away", "TimeoutError"),
    ]
    assert "canary" not in str(lines)


def test_without_warns_an_outage_is_logged_as_info(log_lines: Lines) -> None:
    """Without `warns` an outage is logged as info, because another part of the process warns of the same server."""
    Outage("here", began="it is away", ended="it is back").failed(ConnectionError())

    assert [line["level"] for line in log_lines()] == ["info"]
