"""Tests that the status of a schedule shows its last run and the time of the next one."""

import json
from typing import Any

import pytest

from waypost.operator.cluster.interface import Manifest
from waypost.operator.schedule.runs import is_up_to_date, last_run, next_run

NINE = 29_923_740
"""Minutes since 1970 of 2026-11-23T09:00Z."""
REPORT = {
    "plannedAt": "2026-11-23T09:00:00Z",
    "finishedAt": "2026-11-23T09:00:07Z",
    "result": "Succeeded",
    "recipients": 3,
    "queued": 0,
    "sent": 2,
    "failed": 0,
    "skipped": 1,
    "message": "1 OptedOut",
}


def pod(minute: int, terminated: dict[str, Any] | None, *, created: str = "2026-11-23T09:00:01Z") -> Manifest:
    """Returns a pod of the run that was planned at `minute`."""
    state = {"running": {}} if terminated is None else {"terminated": terminated}
    return {
        "metadata": {
            "creationTimestamp": created,
            "labels": {"batch.kubernetes.io/job-name": f"team-a-weekly-news-0f1e2d3c-{minute}"},
        },
        "status": {"containerStatuses": [{"name": "sidecar"}, {"name": "run", "state": state}]},
    }


def ended(report: Any = REPORT, code: int = 0) -> dict[str, Any]:
    """Returns the state of a container that ended with `report`."""
    message = report if isinstance(report, str) else json.dumps(report)
    return {"exitCode": code, "message": message, "reason": "Completed", "finishedAt": "2026-11-23T09:00:08Z"}


def test_the_report_of_the_newest_run_is_shown() -> None:
    """The report of the newest run is shown, in whatever order the pods are listed."""
    older = ended(REPORT | {"sent": 99})
    assert last_run([pod(NINE, ended()), pod(NINE - 10_080, older)]) == REPORT


def test_the_last_pod_of_a_run_counts() -> None:
    """The report of a run's last pod is shown, because it continued where the earlier pods were interrupted."""
    first = pod(NINE, {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-23T09:00:02Z"})
    second = pod(NINE, ended(), created="2026-11-23T09:00:12Z")
    assert last_run([second, first]) == REPORT


def test_a_run_that_has_not_ended_is_shown_as_running() -> None:
    """A run that has not ended is shown as `Running`, without counts."""
    assert last_run([pod(NINE, None)]) == {"plannedAt": "2026-11-23T09:00:00Z", "result": "Running"}


@pytest.mark.parametrize("message", ["", "no JSON", "[]", '{"recipients": -1}', '{"result": 7}', "null"])
def test_a_pod_without_a_report_has_failed(message: str) -> None:
    """A pod without a valid report has failed. Its exit code is shown, and its message is not trusted."""
    found = last_run([pod(NINE, ended(message, 1))]) or {}
    assert (found["result"], found["finishedAt"]) == ("Failed", "2026-11-23T09:00:08Z")
    assert "exit code 1" in found["message"]


def test_pods_that_belong_to_no_run_are_ignored() -> None:
    """Pods that belong to no run are ignored, because a person may have created a Job by hand."""
    by_hand = pod(NINE, ended())
    by_hand["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "by-hand"
    assert last_run([by_hand]) is None
    assert last_run([]) is None


@pytest.mark.parametrize(
    ("status", "reported", "expected"),
    [
        ({}, None, True),
        ({"lastScheduleTime": "2026-11-23T09:00:00Z"}, None, False),
        ({"lastScheduleTime": "2026-11-23T09:00:00Z"}, REPORT, True),
        ({"lastScheduleTime": "2026-11-23T09:00:00Z"}, {"plannedAt": "2026-11-23T09:00:00Z"}, False),
        ({"lastScheduleTime": "2026-11-30T09:00:00Z"}, REPORT, False),
        ({"lastScheduleTime": "2026-11-23T09:00:00Z", "active": [{"name": "x"}]}, REPORT, False),
    ],
)
def test_pods_are_read_only_after_a_new_run(status: dict[str, Any], reported: Any, expected: bool) -> None:
    """Pods are read only after a new run, so a thousand schedules without runs cost no requests."""
    assert is_up_to_date({"status": status}, reported) is expected


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        ("0 9 * * 1", "Europe/Rome", "2026-11-30T08:00:00Z"),
        ("0 9 * * 1", "America/New_York", "2026-11-23T14:00:00Z"),
        ("*/5 * * * *", "Etc/UTC", "2026-11-23T09:05:00Z"),
        ("0 0 29 2 *", "Etc/UTC", "2028-02-29T00:00:00Z"),
        ("61 * * * *", "Etc/UTC", None),
        ("0 9 * * 1", "Mars/Olympus", None),
        ("0 0 30 2 *", "Etc/UTC", None),
    ],
)
def test_the_next_run_is_computed_in_the_schedules_zone(schedule: str, zone: str, expected: str | None) -> None:
    """The next run is computed in the schedule's zone. If it cannot be computed, it is left out."""
    assert next_run(schedule, zone, 1_795_424_400.0) == expected
