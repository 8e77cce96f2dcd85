"""Tests of running schedules in `waypost dev`, without Kubernetes."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from waypost.dev.cronjobs import RETRY_S, due
from waypost.operator.cluster.interface import Manifest
from waypost.store import numbers

from .laptop import NINE, NUMBER, REPORT, Laptop

pytestmark = pytest.mark.anyio


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    """Returns a laptop without a schedule."""
    return Laptop(tmp_path / "schedules")


@pytest.mark.parametrize(
    ("now", "changes", "last", "expected"),
    [
        ("08:59:59", {}, None, None),
        ("09:00:00", {}, None, "09:00"),
        ("09:02:00", {}, None, "09:00"),
        ("09:02:00", {}, "09:00", None),
        ("09:06:00", {}, "09:00", "09:05"),
        ("09:02:00", {"suspend": True}, None, None),
        ("09:04:00", {"startingDeadlineSeconds": 60}, None, None),
        ("09:00:00", {"timeZone": "Mars/Olympus"}, None, None),
        ("09:00:00", {"schedule": "61 * * * *"}, None, None),
        ("09:00:30", {"schedule": "0 10 * * *"}, None, "09:00"),
    ],
)
def test_a_tick_is_due_once_and_not_too_late(
    now: str, changes: dict[str, Any], last: str | None, expected: str | None
) -> None:
    """A tick is due only once. After its starting deadline, a tick is no longer due.

    The cron expression is read in the schedule's time zone. Here, Rome is an hour ahead of UTC.
    """
    spec = {"schedule": "*/5 * * * *", "timeZone": "Europe/Rome", "startingDeadlineSeconds": 300} | changes
    cron_job: Manifest = {"metadata": {"creationTimestamp": "2026-11-23T08:58:00Z"}, "spec": spec}
    if last:
        cron_job["status"] = {"lastScheduleTime": f"2026-11-23T{last}:00Z"}
    found = due(cron_job, datetime.fromisoformat(f"2026-11-23T{now}+00:00"))
    assert (found and found.strftime("%H:%M")) == expected


async def test_a_run_is_started_with_its_order_and_reported(laptop: Laptop) -> None:
    """A run is started with its tick and its order. Its report is written into the schedule's status."""
    await laptop.add()
    await laptop.check(NINE)
    (run,) = laptop.runs
    assert run.environment["WAYPOST_SCHEDULE_JOB"].endswith(f"-{int(NINE) // 60}")
    assert run.order["numberId"] == NUMBER
    await laptop.reconcile()
    assert laptop.last_run["result"] == "Running"

    run.end(0, REPORT)
    await laptop.check(NINE + 10)
    await laptop.reconcile()
    assert (laptop.last_run["plannedAt"], laptop.last_run["sent"]) == ("2026-11-23T09:00:00Z", 1)
    await laptop.check(NINE + 20)
    assert len(laptop.runs) == 1


@pytest.mark.parametrize(("status", "starts"), [(0, 1), (2, 1), (1, 4), (-9, 4)])
async def test_a_run_is_retried_if_its_exit_status_allows_it(laptop: Laptop, status: int, starts: int) -> None:
    """A run is retried if its exit status allows a retry.

    It is retried three times, as its Job says. After that, it has failed.
    """
    await laptop.add()
    for second in range(0, 120, int(RETRY_S / 2)):
        await laptop.check(NINE + second)
        if laptop.runs and laptop.runs[-1].status is None:
            laptop.runs[-1].end(status)
    assert len(laptop.runs) == starts
    assert len({run.environment["WAYPOST_SCHEDULE_JOB"] for run in laptop.runs}) == 1


@pytest.mark.parametrize(("policy", "starts", "killed"), [("Forbid", 1, 0), ("Allow", 2, 0), ("Replace", 2, 1)])
async def test_the_concurrency_policy_decides_about_a_run_that_still_runs(
    laptop: Laptop, policy: str, starts: int, killed: int
) -> None:
    """The concurrency policy decides about a run that still runs at the next tick.

    The run continues alone, or it continues beside the new run, or it is killed.
    """
    await laptop.add(concurrencyPolicy=policy)
    await laptop.check(NINE)
    await laptop.check(NINE + 300)
    assert len(laptop.runs) == starts
    assert sum(run.status == -9 for run in laptop.runs) == killed


async def test_a_run_ends_with_its_schedule(laptop: Laptop) -> None:
    """A run is killed when its schedule is deleted. In Kubernetes, the Jobs of a deleted CronJob are deleted too."""
    await laptop.add()
    await laptop.check(NINE)
    laptop.cluster.remove("BotSchedule", "team-a", "news")
    await laptop.reconcile()
    await laptop.check(NINE + 1)
    assert laptop.runs[0].status == -9


async def test_a_real_run_queues_its_messages(
    tmp_path: Path, database: Engine, database_url: str, wait_for: Callable[..., object]
) -> None:
    """A real run queues its messages.

    The run is the same process as in a cluster, and reads the order that the operator wrote.
    """
    laptop = Laptop(tmp_path / "schedules")
    with database.begin() as connection:
        numbers.record(connection, [(NUMBER, "team-a", "support", "102290129340398")])
    processes: list[subprocess.Popen[bytes]] = []

    def launch(_name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        variables = {**os.environ, **environment, "WAYPOST_DATABASE_URL": database_url, "WAYPOST_SCHEDULE_WAIT_S": "0"}
        processes.append(subprocess.Popen([sys.executable, "-m", "waypost.cli", "schedule", "run"], env=variables))
        return processes[-1]

    laptop.launch = launch
    await laptop.add()
    await laptop.check(NINE)
    assert processes[0].wait(60) == 0
    await laptop.check(NINE + 5)
    await laptop.reconcile()

    assert (laptop.last_run["result"], laptop.last_run["queued"]) == ("Succeeded", 1)
    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM outbox")).scalar_one() == 1
