"""Reads the reports of a schedule's runs from the termination messages of their pods, and computes the next run.

The operator has no access to the database, and the pods have no access to the Kubernetes API. The kubelet
therefore passes each report from the pod to the API server.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter  # type: ignore[import-untyped]
from pydantic import ValidationError

from waypost.operator.api.conditions import timestamp
from waypost.operator.api.schedule_models import LastRun
from waypost.operator.cluster.interface import Manifest
from waypost.operator.schedule.children import CONTAINER

_JOB_NAME = "batch.kubernetes.io/job-name"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_up_to_date(cron_job: Manifest, last_run: dict[str, Any] | None) -> bool:
    """Returns whether the pods need not be read.

    They need not be read if there has been no run, or if `last_run` already describes the end of the last run.
    """
    status = cron_job.get("status") or {}
    planned_at = status.get("lastScheduleTime")
    if planned_at is None and not status.get("active"):
        return True
    reported = last_run or {}
    return reported.get("plannedAt") == planned_at and bool(reported.get("finishedAt")) and not status.get("active")


def last_run(pods: Sequence[Manifest]) -> dict[str, Any] | None:
    """Returns `status.lastRun` from the pods of a schedule, or None if no pod belongs to a run.

    Only the pods of the newest tick count. Of these pods only the last one counts, because an interrupted run
    continues in the next pod. The function has no side effects.
    """
    by_tick: dict[int, list[Manifest]] = {}
    for pod in pods:
        job = (pod["metadata"].get("labels") or {}).get(_JOB_NAME, "")
        minute = job.rpartition("-")[2]
        if len(minute) == 8 and minute.isdecimal():
            by_tick.setdefault(int(minute), []).append(pod)
    if not by_tick:
        return None
    newest = max(by_tick)
    planned_at = timestamp((_EPOCH + timedelta(minutes=newest)).timestamp())
    pod = max(by_tick[newest], key=lambda each: str(each["metadata"].get("creationTimestamp") or ""))
    terminated = _terminated(pod)
    if terminated is None:
        return {"plannedAt": planned_at, "result": "Running"}
    report = _report(terminated.get("message"))
    if report is not None:
        return {**report, "plannedAt": planned_at}
    return {
        "plannedAt": planned_at,
        "finishedAt": terminated.get("finishedAt"),
        "result": "Failed",
        "message": f"The pod of the run ended with exit code {terminated.get('exitCode')} "
        f"({terminated.get('reason') or 'no reason given'}) and without a report. Read its log.",
    }


def next_run(schedule: str, zone: str, now: float) -> str | None:
    """Returns when the next run of the schedule is planned.

    Returns None if croniter cannot read the cron expression. This is possible even if the API server can read it.
    The function has no side effects.
    """
    try:
        start = datetime.fromtimestamp(now, ZoneInfo(zone))
        following: datetime = croniter(schedule, start).get_next(datetime)
    except (CroniterError, ZoneInfoNotFoundError, ValueError):
        return None
    return timestamp(following.timestamp())


def _terminated(pod: Manifest) -> dict[str, Any] | None:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        if container.get("name") == CONTAINER:
            state: dict[str, Any] | None = (container.get("state") or {}).get("terminated")
            if state is not None:
                return state
    if status.get("phase") == "Failed":  # evicted before the container ran
        return {"exitCode": None, "reason": status.get("reason"), "finishedAt": None}
    return None


def _report(message: object) -> dict[str, Any] | None:
    if not isinstance(message, str):
        return None
    try:
        report = LastRun.model_validate(json.loads(message))
    except (ValueError, ValidationError):
        return None
    return report.model_dump(by_alias=True, exclude_none=True)
