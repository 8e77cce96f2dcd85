"""A running operator takes care of schedules.

kopf's watches wake the operator, and an API server in memory stores what it writes.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.engine.runtime import Operator, RuntimeOptions
from waypost.operator.schedule.children import SCHEDULE_UID
from waypost.operator.schedule.reconcile import ScheduleReconciler

from .apiserver import ApiServer
from .running import Notes, NotingReconciler, RunningOperator, settled, until
from .schedules import OPTIONS, RELEASE, TEAM, number, number_status, schedule


@pytest.fixture
def start(api: ApiServer, tmp_path: Path) -> Iterator[Callable[[], Callable[[], None]]]:
    """Yields a function that starts an operator and returns a function to stop it.

    Numbers are not reconciled.
    """
    running: list[RunningOperator] = []

    def begin() -> Callable[[], None]:
        notes = Notes()
        runtime = RuntimeOptions("one", api.kubeconfig(tmp_path))
        operator = Operator(
            OPTIONS,
            runtime,
            lambda cluster: {NUMBER: _Idle(cluster, notes), SCHEDULE: ScheduleReconciler(cluster, OPTIONS)},
        )
        made = RunningOperator(operator)
        running.append(made)

        def works() -> bool:
            made.check()
            return operator.not_ready() is None

        until(works, "the operator works")
        until(lambda: all(map(api.watching, (NUMBER, SCHEDULE, "CronJob"))), "it watches")

        def stop() -> None:
            running.remove(made)
            made.stop()

        return stop

    yield begin
    for each in running:
        each.stop()


class _Idle(NotingReconciler):
    """A reconciler of numbers that changes nothing."""

    async def reconcile(self, manifest: Manifest) -> Any:
        return Result(None, Outcome.READY)


def connect(api: ApiServer) -> None:
    """Sets the status of the number to connected."""
    api.edit(NUMBER, TEAM, "support", lambda found: found.update(status=number_status()))


def reason(api: ApiServer, name: str = "weekly-news") -> str | None:
    """Returns the reason of the schedule's condition `Ready`, or None."""
    status = (api.get(SCHEDULE, TEAM, name) or {}).get("status") or {}
    return next((each["reason"] for each in status.get("conditions", ()) if each["type"] == ConditionType.READY), None)


def test_a_schedule_waits_for_its_number_and_is_woken_by_it(api: ApiServer, start: Callable[[], Any]) -> None:
    """A schedule waits for its number, and the number wakes it, because a user may apply the files in any order."""
    start()
    api.put(schedule())
    until(lambda: reason(api) == Reason.NUMBER_NOT_FOUND, "it says what it waits for")
    api.put(number())
    until(lambda: reason(api) == Reason.NUMBER_NOT_READY, "it sees the number come")
    connect(api)
    until(lambda: reason(api) == Reason.SCHEDULED, "it is set up")
    assert len(api.all("CronJob")) == 1


def test_a_deleted_cronjob_is_created_again_at_once(api: ApiServer, start: Callable[[], Any]) -> None:
    """A deleted CronJob is created again at once, because the watch wakes its schedule before the next resync."""
    start()
    api.put(number())
    connect(api)
    api.put(schedule())
    until(lambda: reason(api) == Reason.SCHEDULED, "it is set up")
    (before,) = api.all("CronJob")
    api.delete("CronJob", RELEASE, before["metadata"]["name"])
    until(
        lambda: [each for each in api.all("CronJob") if each["metadata"]["uid"] != before["metadata"]["uid"]],
        "it is there again",
    )


def test_the_end_of_a_run_is_in_the_status_at_once(api: ApiServer, start: Callable[[], Any]) -> None:
    """The schedule's status shows the result of a run at once.

    When the Job ends, the status of the CronJob changes, and this wakes the schedule.
    """
    start()
    api.put(number())
    connect(api)
    api.put(schedule())
    until(lambda: reason(api) == Reason.SCHEDULED, "it is set up")
    (cron_job,) = api.all("CronJob")
    name, labels = cron_job["metadata"]["name"], cron_job["metadata"]["labels"]
    job = f"{name}-29923740"
    report = {"finishedAt": "2026-11-23T09:00:07Z", "result": "Succeeded", "recipients": 3, "sent": 3}
    terminated = {"exitCode": 0, "message": json.dumps(report)}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": RELEASE,
            "name": f"{job}-x",
            "labels": {SCHEDULE_UID: labels[SCHEDULE_UID], "batch.kubernetes.io/job-name": job},
        },
        "status": {"containerStatuses": [{"name": "run", "state": {"terminated": terminated}}]},
    }
    api.put(pod)
    api.edit("CronJob", RELEASE, name, lambda found: found.update(status={"lastScheduleTime": "2026-11-23T09:00:00Z"}))
    until(lambda: "lastRun" in (api.get(SCHEDULE, TEAM, "weekly-news") or {})["status"], "the run is in the status")
    last_run = (api.get(SCHEDULE, TEAM, "weekly-news") or {})["status"]["lastRun"]
    assert (last_run["plannedAt"], last_run["sent"]) == ("2026-11-23T09:00:00Z", 3)


@pytest.mark.fault("K6")
def test_a_schedule_deleted_while_the_operator_is_down_goes_when_it_is_back(
    api: ApiServer, start: Callable[[], Any]
) -> None:
    """A schedule that was deleted while no operator ran is removed when the operator runs again.

    Its finalizer keeps it until then. Its CronJob is removed with it.
    """
    stop = start()
    api.put(number())
    connect(api)
    api.put(schedule())
    until(lambda: reason(api) == Reason.SCHEDULED, "it is set up")
    stop()
    api.delete(SCHEDULE, TEAM, "weekly-news")
    assert api.get(SCHEDULE, TEAM, "weekly-news") is not None
    start()
    until(lambda: api.get(SCHEDULE, TEAM, "weekly-news") is None, "it is gone")
    assert api.all("CronJob") == []


def test_a_cronjob_whose_schedule_lost_its_finalizer_is_swept_at_the_start(
    api: ApiServer, start: Callable[[], Any]
) -> None:
    """At the start, the operator deletes a CronJob whose schedule is gone.

    A user removed the schedule's finalizer by hand while the operator was down.
    """
    stop = start()
    api.put(number())
    connect(api)
    api.put(schedule())
    until(lambda: reason(api) == Reason.SCHEDULED, "it is set up")
    stop()
    api.edit(SCHEDULE, TEAM, "weekly-news", lambda found: found["metadata"].update(finalizers=[]))
    api.delete(SCHEDULE, TEAM, "weekly-news")
    assert len(api.all("CronJob")) == 1
    start()
    until(lambda: not api.all("CronJob"), "it is swept")


def test_two_hundred_schedules_at_once_are_set_up_without_further_writes(
    api: ApiServer, start: Callable[[], Any]
) -> None:
    """Two hundred schedules are set up at once, and a write of the operator causes no further write."""
    start()
    api.put(number())
    connect(api)
    for position in range(200):
        api.put(schedule(f"news-{position}"))
    until(lambda: all(reason(api, f"news-{position}") == Reason.SCHEDULED for position in range(200)), "all are set up")
    settled(lambda: len(api.writes), for_s=1.0)
    kinds = [write.kind for write in api.changes()]
    assert (kinds.count("CronJob"), kinds.count("Secret")) == (200, 200)
    assert kinds.count(SCHEDULE) == 400, "a finalizer and a status for each"
