"""The report of a run, which the operator reads from the container's termination message."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from waypost.store.schedules import SendCounts

log = structlog.get_logger(__name__)

LONGEST_DETAIL = 512


def report(
    planned_at: datetime,
    finished_at: datetime | None,
    *,
    result: str,
    detail: str = "",
    recipients: int = 0,
    skipped: Mapping[str, int] | None = None,
    sends: SendCounts | None = None,
) -> dict[str, object]:
    """Returns `status.lastRun` of the `BotSchedule`, which contains counts and reasons but no contacts or texts.

    The function has no side effects.
    """
    sends = sends or SendCounts()
    reasons = dict(skipped or {})
    for reason, count in sends.refused.items():
        reasons[reason] = reasons.get(reason, 0) + count
    notes = [detail] if detail else []
    notes += [f"{count} {reason}" for reason, count in sorted(reasons.items()) if count]
    if sends.unknown:
        notes.append(f"{sends.unknown} with an unknown outcome: Meta has not confirmed them yet")
    return {
        "plannedAt": _timestamp(planned_at),
        **({"finishedAt": _timestamp(finished_at)} if finished_at else {}),
        "result": result,
        "recipients": recipients,
        "queued": sends.waiting + sends.due + sends.unknown,
        "sent": sends.sent,
        "failed": sends.failed,
        "skipped": sum(reasons.values()),
        "message": "; ".join(notes)[:LONGEST_DETAIL],
    }


def write(path: Path | None, content: Mapping[str, object]) -> None:
    """Writes the report of at most 4 KiB into the container's termination message, where the kubelet reads it.

    If the write fails, the error is logged and nothing else happens. A failed write must not undo what the run
    did.
    """
    if path is None:
        return
    try:
        path.write_bytes(msgspec.json.encode(content))
    except OSError as error:
        log.warning("report not written", error=error)


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
