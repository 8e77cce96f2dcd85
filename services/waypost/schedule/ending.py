"""How a run ends, and the report on it that the operator reads.

A run ends for good with a result (`Succeeded`, or why not) or is interrupted, and then goes on in its Job's next pod:

RunError
├── RunRefused    the run will never do its work; `result` says why. No retry makes sense
└── NotYet        something is not there yet; the next pod tries again
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from waypost.store.schedules import Sends

log = structlog.get_logger(__name__)

SUCCEEDED = "Succeeded"
LONGEST_DETAIL = 512


class RunError(Exception):
    """A run did not do its work."""


class RunRefused(RunError):
    """It never will. `result` in CamelCase; `detail` is for people and names no contact."""

    def __init__(self, result: str, detail: str, *, recipients: int = 0) -> None:
        super().__init__(f"{result}: {detail}")
        self.result = result
        self.detail = detail
        self.recipients = recipients


class NotYet(RunError):
    """What it needs is not there yet."""


@dataclass(frozen=True)
class Ending:
    """What an action did."""

    result: str = SUCCEEDED
    detail: str = ""
    recipients: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)


def report(
    planned_at: datetime, finished_at: datetime | None, ending: Ending, sends: Sends | None = None
) -> dict[str, object]:
    """`status.lastRun` of the `BotSchedule`: counts and reasons, nothing of whom or what. Pure."""
    sends = sends or Sends()
    reasons = {**ending.skipped}
    for reason, count in sends.refused.items():
        reasons[reason] = reasons.get(reason, 0) + count
    notes = [ending.detail] if ending.detail else []
    notes += [f"{count} {reason}" for reason, count in sorted(reasons.items()) if count]
    if sends.unknown:
        notes.append(f"{sends.unknown} of which Meta has not told yet whether they went out")
    return {
        "plannedAt": _timestamp(planned_at),
        **({"finishedAt": _timestamp(finished_at)} if finished_at else {}),
        "result": ending.result,
        "recipients": ending.recipients,
        "queued": sends.waiting + sends.due + sends.unknown,
        "sent": sends.sent,
        "failed": sends.failed,
        "skipped": sum(reasons.values()),
        "message": "; ".join(notes)[:LONGEST_DETAIL],
    }


def hand_over(path: Path | None, content: Mapping[str, object]) -> None:
    """Write the report where kubelet takes it from (the container's termination message, at most 4 KiB).

    A report that cannot be written is logged and given up: it must not undo what the run did.
    """
    if path is None:
        return
    try:
        path.write_bytes(msgspec.json.encode(content))
    except OSError as error:
        log.warning("report not written", error=error)


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
