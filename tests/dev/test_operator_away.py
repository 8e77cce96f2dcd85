"""Schedules while no operator runs: the CronJobs start the runs, and the operator only reads the results later.

A tick is one planned minute of one schedule. The runs are the processes of a cluster, and the CronJob controller is
that of `waypost dev`. The tests of the real controller are in tests/cluster and tests/e2e.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from waypost.store import numbers

from .laptop import NINE, NUMBER, REPORT, Laptop

pytestmark = [pytest.mark.anyio, pytest.mark.fault("K5")]

MINUTE = 60
DEADLINE_S = 300
EVERY_HOUR = "0 * * * *"


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    """Returns a laptop without a schedule."""
    return Laptop(tmp_path / "schedules")


def _planned(laptop: Laptop) -> list[str]:
    """Returns the planned minutes of the runs that were started, as minutes after nine."""
    jobs = (run.environment["WAYPOST_SCHEDULE_JOB"] for run in laptop.runs)
    return [f"{int(job.rpartition('-')[2]) - int(NINE) // MINUTE:+d}" for job in jobs]


async def _let_pass(laptop: Laptop, begin: float, end: float) -> None:
    """Lets time pass in steps of ten seconds. Each run ends at the next step. The operator does nothing."""
    at = begin
    while at <= end:
        await laptop.check(at)
        for run in laptop.runs:
            if run.status is None:
                run.end(0, REPORT)
        at += 10


async def test_each_tick_of_an_hour_without_an_operator_is_run_once(laptop: Laptop) -> None:
    """Each tick is run once, at its minute. When the operator returns, the status shows the last run."""
    await laptop.add(schedule="*/20 * * * *")
    await _let_pass(laptop, NINE, NINE + 3600)
    assert _planned(laptop) == ["+0", "+20", "+40", "+60"]
    assert laptop.last_run == {}
    await laptop.reconcile()
    assert laptop.last_run["plannedAt"] == "2026-11-23T10:00:00Z"
    await _let_pass(laptop, NINE + 3600, NINE + 3600 + DEADLINE_S)
    assert _planned(laptop) == ["+0", "+20", "+40", "+60"], "the return of the operator starts no run"


@pytest.mark.parametrize(("returns_s", "planned"), [(DEADLINE_S - 10, ["+0"]), (DEADLINE_S + 10, [])])
async def test_a_tick_is_made_up_for_until_its_starting_deadline(
    laptop: Laptop, returns_s: float, planned: list[str]
) -> None:
    """If the whole cluster is away, a tick is run late, but never later than `startingDeadlineSeconds`."""
    await laptop.add(schedule=EVERY_HOUR)
    await _let_pass(laptop, NINE + returns_s, NINE + returns_s + DEADLINE_S)
    assert _planned(laptop) == planned


async def test_of_many_missed_ticks_only_the_last_is_made_up_for(laptop: Laptop) -> None:
    """A cluster that was away for hours sends one message, not one for each hour."""
    await laptop.add(schedule="* * * * *")
    await laptop.check(NINE + 2 * 3600 + 5)
    assert _planned(laptop) == ["+120"]


@pytest.mark.parametrize(
    ("changed", "planned"),
    [
        # Rome is an hour ahead of UTC, so that nine in UTC is ten in Rome.
        pytest.param({"timeZone": "Etc/UTC"}, ["+0"], id="to the west, so that the tick would be an hour later"),
        pytest.param({"timeZone": "Europe/Helsinki"}, ["+0"], id="to the east, so that it would have been before"),
        pytest.param({"suspend": True}, ["+0"], id="suspended"),
    ],
)
async def test_a_change_while_the_operator_is_away_applies_when_it_returns(
    laptop: Laptop, changed: dict[str, Any], planned: list[str]
) -> None:
    """A tick of the old plan is run as long as the operator is away. Its return does not run that tick again."""
    await laptop.add(schedule="0 10 * * *", timeZone="Europe/Rome")
    laptop.edit(**changed)
    await _let_pass(laptop, NINE, NINE + DEADLINE_S)
    assert _planned(laptop) == planned
    await laptop.reconcile()
    await _let_pass(laptop, NINE + DEADLINE_S, NINE + 2 * DEADLINE_S)
    assert _planned(laptop) == planned
    job = laptop.cluster.all("CronJob")[0]["spec"]
    assert {name: job[name] for name in changed} == changed


async def test_the_new_plan_runs_a_tick_that_it_has_just_missed(laptop: Laptop) -> None:
    """If the new time zone plans a minute that is just over, it is run: it is another tick, within its deadline."""
    await laptop.add(schedule="0 9 * * *", timeZone="Europe/Rome")
    await _let_pass(laptop, NINE - 10, NINE + MINUTE)
    assert _planned(laptop) == [], "in Rome it is past ten"
    laptop.edit(timeZone="Etc/UTC")
    await laptop.reconcile()
    await _let_pass(laptop, NINE + 2 * MINUTE, NINE + DEADLINE_S)
    assert _planned(laptop) == ["+0"]


@pytest.fixture
def processes(laptop: Laptop, database: Engine, database_url: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Makes the laptop start real runs, and yields their processes. A worker has recorded the number."""
    with database.begin() as connection:
        numbers.record(connection, [(NUMBER, "team-a", "support", "102290129340398")])
    started: list[subprocess.Popen[bytes]] = []

    def launch(_name: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        variables = {**os.environ, **environment, "WAYPOST_DATABASE_URL": database_url, "WAYPOST_SCHEDULE_WAIT_S": "0"}
        started.append(subprocess.Popen([sys.executable, "-m", "waypost.cli", "schedule", "run"], env=variables))
        return started[-1]

    laptop.launch = launch
    yield started
    for process in started:
        process.kill()
        process.wait()


async def test_runs_that_kubernetes_starts_twice_queue_each_message_once(
    laptop: Laptop, database: Engine, processes: list["subprocess.Popen[bytes]"], figure: Callable[..., None]
) -> None:
    """Two runs of one tick, as after a crash of the CronJob controller, queue one message for each contact.

    The key of a run is the schedule's uid and the planned minute, so it does not matter who starts it.
    """
    await laptop.add(schedule="*/5 * * * *")
    for at in (NINE, NINE + DEADLINE_S):
        await laptop.check(at)
        # A controller that lost its status starts the same tick again.
        await laptop.forget_runs()
        await laptop.check(at)
        for process in processes:
            assert process.wait(60) == 0
        await laptop.check(at + 1)
    with database.connect() as connection:
        runs, messages = connection.execute(
            text("SELECT (SELECT count(*) FROM schedule_run), (SELECT count(*) FROM outbox)")
        ).one()
    assert (len(processes), runs, messages) == (4, 2, 2)
    figure("processes started for 2 ticks", len(processes))
    figure("messages queued for 2 ticks and 1 contact", messages, aim="2")
