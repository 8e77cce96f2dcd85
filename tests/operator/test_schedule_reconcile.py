"""Tests that a schedule is set up and kept as desired, in a cluster in memory."""

import dataclasses
import json
from typing import Any

import pytest

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.cluster.interface import ClusterAway, ClusterRefused
from waypost.operator.engine.outcome import Outcome
from waypost.operator.schedule.children import SCHEDULE_UID
from waypost.operator.schedule.reconcile import FINALIZER, ScheduleReconciler
from waypost.telemetry import tracing

from .schedules import (
    CONTACT,
    FALSE,
    NOW,
    RELEASE,
    TEAM,
    TRUE,
    UNKNOWN,
    Killed,
    Team,
    message,
    number,
    number_status,
    schedule,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def team() -> Team:
    """Returns a namespace with a connected number."""
    return await Team().with_number()


async def test_a_schedule_becomes_a_cronjob_and_an_order(team: Team) -> None:
    """For a schedule, the operator creates a CronJob and an order in the release namespace.

    The status names the CronJob.
    """
    team.cluster.put(schedule())
    result = await team.reconcile()

    cron_job, order = team.cron_job(), json.loads((await team.order()).data["order.json"])
    assert (result.outcome, team.condition(ConditionType.READY)) == (Outcome.READY, (TRUE, Reason.SCHEDULED))
    assert cron_job["metadata"]["namespace"] == RELEASE
    assert (cron_job["spec"]["schedule"], cron_job["spec"]["timeZone"]) == ("0 9 * * 1", "Europe/Rome")
    assert order["action"]["message"]["audience"]["contacts"] == [CONTACT]
    status = team.status()
    assert status["cronJobName"] == cron_job["metadata"]["name"]
    assert (status["cronJobNamespace"], status["nextRunAt"]) == (RELEASE, "2026-11-30T08:00:00Z")


async def test_a_second_reconcile_writes_nothing(team: Team) -> None:
    """A second reconcile of the same schedule writes nothing, even with another trace or at a later time."""
    team.cluster.put(schedule())
    for _ in range(3):
        with tracing.tracer().start_as_current_span("reconcile"):
            await team.reconcile()
        team.clock.now += 300
    assert team.cluster.writes == ["metadata", "apply CronJob", "apply Secret", "status"]


async def test_runs_link_to_the_reconcile_that_last_changed_them(team: Team) -> None:
    """Runs link to the trace of the reconcile that last changed the spec. Other reconciles keep this link."""
    team.cluster.put(schedule())
    traceparents = []
    for minute in ("0", "0", "5"):
        team.cluster.put(schedule(schedule=f"{minute} 9 * * 1"))
        with tracing.tracer().start_as_current_span("reconcile"):
            await team.reconcile()
        variables = team.cron_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"]
        traceparents.append(next(each["value"] for each in variables if each["name"] == "TRACEPARENT"))
    assert traceparents[0] == traceparents[1] != traceparents[2]


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "*/5 * * * *"},
        {"timeZone": "Asia/Tokyo"},
        {"suspend": True},
        {"concurrencyPolicy": "Allow"},
        {"startingDeadlineSeconds": 60},
        {"action": message(maxRecipients=3)},
        {"action": {"tokenCheck": {}}},
    ],
)
async def test_a_changed_spec_gives_what_a_new_schedule_would_give(change: dict[str, Any], team: Team) -> None:
    """A CronJob of a changed schedule equals that of a new schedule. Nothing of the old spec is left."""
    team.cluster.put(schedule())
    await team.reconcile()
    team.cluster.put(schedule(**change))
    await team.reconcile()
    fresh = await Team().with_number()
    fresh.cluster.put(schedule(**change))
    await fresh.reconcile()

    assert team.cron_job()["spec"] == fresh.cron_job()["spec"]
    assert (await team.order()).data == (await fresh.order()).data
    assert team.status()["observedGeneration"] == 2


@pytest.mark.parametrize("kind", ["CronJob", "Secret"])
async def test_a_deleted_child_is_created_again(kind: str, team: Team) -> None:
    """The next reconcile creates a deleted child again."""
    team.cluster.put(schedule())
    await team.reconcile()
    team.cluster.remove(kind, RELEASE, team.cron_job()["metadata"]["name"])
    await team.reconcile()
    assert len(team.cluster.all(kind)) == 1


async def test_an_edited_cronjob_is_repaired(team: Team) -> None:
    """An edited CronJob is repaired, because users who may edit it must not make it fire at other times."""
    team.cluster.put(schedule())
    await team.reconcile()
    cron_job = team.cron_job()
    cron_job["spec"] |= {"schedule": "* * * * *"}
    team.cluster.put(cron_job)
    await team.reconcile()
    assert team.cron_job()["spec"]["schedule"] == "0 9 * * 1"


async def test_a_number_of_another_namespace_cannot_be_used(team: Team) -> None:
    """A schedule cannot use a number of another namespace. `numberRef` is looked up in the schedule's own namespace."""
    team.cluster.put(number("sales", namespace="team-b"))
    team.cluster.put(schedule(numberRef={"name": "sales"}))
    result = await team.reconcile()
    assert (result.outcome, team.condition(ConditionType.READY)) == (Outcome.WAITING, (FALSE, Reason.NUMBER_NOT_FOUND))
    assert team.cluster.all("CronJob") == []


async def test_a_schedule_waits_for_its_number() -> None:
    """A schedule waits until its number exists, so files can be applied in any order."""
    team = Team()
    team.cluster.put(schedule())
    assert (await team.reconcile()).outcome == Outcome.WAITING
    assert team.condition(ConditionType.RECONCILING) == (TRUE, Reason.NUMBER_NOT_FOUND)

    await team.with_number()
    assert (await team.reconcile()).outcome == Outcome.READY


async def test_runs_are_suspended_while_the_number_is_gone(team: Team) -> None:
    """The runs of a schedule are suspended while its number does not exist.

    A new number of the same name counts as another number until its own credentials have reached it.
    """
    team.cluster.put(schedule())
    await team.reconcile()

    team.cluster.remove("WhatsAppNumber", TEAM, "support")
    await team.reconcile()
    assert team.cron_job()["spec"]["suspend"] is True
    assert "nextRunAt" not in team.status()

    again = team.cluster.put(number())
    await team.reconcile()
    assert team.condition(ConditionType.READY) == (FALSE, Reason.NUMBER_NOT_READY)

    await team.cluster.write_status(again, number_status())
    await team.reconcile()
    assert team.cron_job()["spec"]["suspend"] is False


async def test_a_failing_number_stops_no_run(team: Team) -> None:
    """A failing number does not suspend runs. A failure of the operator or of Meta stops changes, never messages."""
    team.cluster.put(schedule())
    await team.reconcile()
    found = team.cluster.get("WhatsAppNumber", TEAM, "support")
    assert found is not None
    await team.cluster.write_status(found, number_status(FALSE, Reason.TOKEN_REVOKED, registered=UNKNOWN))
    assert (await team.reconcile()).outcome == Outcome.READY
    assert team.cron_job()["spec"]["suspend"] is False


async def test_a_refused_cronjob_leaves_the_last_valid_one(team: Team) -> None:
    """If the API server refuses a CronJob, the last valid one stays. The Event says why.

    The order of the last valid CronJob stays too, because both belong together.
    """
    team.cluster.put(schedule())
    await team.reconcile()
    before = team.cron_job(), await team.order()

    team.cluster.refuse = ClusterRefused("Invalid", 'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone')
    team.cluster.put(schedule(timeZone="Mars/Olympus"))
    result = await team.reconcile()

    assert (result.outcome, team.condition(ConditionType.STALLED)) == (
        Outcome.STALLED,
        (TRUE, Reason.INVALID_TIME_ZONE),
    )
    assert (team.cron_job(), await team.order()) == before
    assert ("Warning", Reason.INVALID_TIME_ZONE) in [event[:2] for event in team.cluster.events]


async def test_an_api_server_that_does_not_answer_changes_no_status(team: Team) -> None:
    """If the API server does not answer, the error propagates and the status stays. The controller retries."""
    team.cluster.put(schedule())
    team.cluster.refuse = ClusterAway("503")
    with pytest.raises(ClusterAway):
        await team.reconcile()
    assert team.status() == {}


async def test_the_status_shows_the_last_run(team: Team) -> None:
    """The status shows the report of the last run.

    The operator reads the report from the run's pod once the CronJob shows that there was a run.
    """
    team.cluster.put(schedule())
    await team.reconcile()
    cron_job = team.cron_job()
    uid = cron_job["metadata"]["labels"][SCHEDULE_UID]
    await team.cluster.write_status(cron_job, {"lastScheduleTime": "2026-11-23T08:00:00Z"})
    report = {"finishedAt": "2026-11-23T08:00:07Z", "result": "Succeeded", "recipients": 1, "sent": 1}
    name = f"{cron_job['metadata']['name']}-{int(NOW) // 60 - 60}"
    ended = {"exitCode": 0, "message": json.dumps(report), "finishedAt": "2026-11-23T08:00:08Z"}
    pod = team.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": RELEASE,
                "name": f"{name}-x",
                "labels": {SCHEDULE_UID: uid, "batch.kubernetes.io/job-name": name},
            },
        }
    )
    await team.cluster.write_status(pod, {"containerStatuses": [{"name": "run", "state": {"terminated": ended}}]})
    await team.reconcile()

    last_run = team.status()["lastRun"]
    assert (last_run["plannedAt"], last_run["result"], last_run["sent"]) == ("2026-11-23T08:00:00Z", "Succeeded", 1)

    team.cluster.remove("Pod", RELEASE, f"{name}-x")
    await team.reconcile()
    assert team.status()["lastRun"] == last_run, "it stays after the pod is gone"


async def test_a_deleted_schedule_deletes_its_children(team: Team) -> None:
    """The operator deletes the children of a deleted schedule.

    Kubernetes does not delete them, because owner references cannot lead to another namespace.
    """
    team.cluster.put(schedule())
    await team.reconcile()
    stray = team.cron_job()
    stray["metadata"] = {
        "namespace": RELEASE,
        "name": "of-an-older-version",
        "labels": {SCHEDULE_UID: stray["metadata"]["labels"][SCHEDULE_UID]},
    }
    team.cluster.put(stray)
    team.cluster.put(schedule("other"))
    await team.reconcile("other")

    team.cluster.remove("BotSchedule", TEAM, "weekly-news")
    await team.reconcile()

    assert team.cluster.get("BotSchedule", TEAM, "weekly-news") is None
    assert [each["metadata"]["labels"]["waypost.dev/schedule-name"] for each in team.cluster.all("CronJob")] == [
        "other"
    ]
    assert len(team.cluster.all("Secret")) == 1


async def test_cronjobs_without_a_schedule_are_swept(team: Team) -> None:
    """A sweep deletes CronJobs whose schedule no longer exists. Otherwise they would send messages for ever.

    Such CronJobs remain when a user removes the finalizer by hand.
    """
    team.cluster.put(schedule())
    await team.reconcile()
    team.cluster.put(schedule("other"))
    await team.reconcile("other")
    found = team.cluster.get("BotSchedule", TEAM, "weekly-news")
    assert found is not None
    await team.cluster.write_metadata(found, {"finalizers": []})
    team.cluster.remove("BotSchedule", TEAM, "weekly-news")

    swept = await ScheduleReconciler(team.cluster, team.options).sweep()

    assert len(swept) == 1
    assert [each["metadata"]["labels"]["waypost.dev/schedule-name"] for each in team.cluster.all("CronJob")] == [
        "other"
    ]


async def test_an_invalid_schedule_is_reported(team: Team) -> None:
    """An invalid schedule, which an older CRD may have accepted, is reported without its values."""
    team.cluster.put(schedule(action={"message": {"audience": {"contacts": ["no number"]}}}))
    assert (await team.reconcile()).outcome == Outcome.STALLED
    assert team.condition(ConditionType.STALLED) == (TRUE, Reason.INVALID_SPEC)
    assert "no number" not in str(team.status())


@pytest.mark.fault("K2")
@pytest.mark.parametrize("steps", [["create"], ["create", "change"], ["create", "number goes"], ["create", "delete"]])
async def test_a_kill_after_any_write_does_not_change_the_outcome(steps: list[str]) -> None:
    """The operator is killed after its k-th write and started again, for every k. The outcome is the same."""
    undisturbed = await Team().with_number()
    await _walk(undisturbed, steps)
    writes = len(undisturbed.cluster.writes)
    assert writes
    for k in range(1, writes + 1):
        team = await Team().with_number()
        team.cluster.fail_at = k
        await _walk(team, steps)
        assert _settled(team) == _settled(undisturbed), f"killed after write {k}"


async def _walk(team: Team, steps: list[str]) -> None:
    for step in steps:
        if step == "create":
            team.cluster.put(schedule())
        elif step == "change":
            team.cluster.put(schedule(timeZone="Asia/Tokyo", action=message(maxRecipients=3)))
        elif step == "number goes":
            team.cluster.remove("WhatsAppNumber", TEAM, "support")
        else:
            team.cluster.remove("BotSchedule", TEAM, "weekly-news")
        try:
            await team.reconcile()
        except Killed:
            if team.cluster.get("BotSchedule", TEAM, "weekly-news"):
                await team.reconcile()


def _settled(team: Team) -> list[Any]:
    """Returns all objects without their `resourceVersion`, because it counts writes."""
    found = team.cluster.all()
    for each in found:
        each["metadata"].pop("resourceVersion")
    return found


async def test_the_finalizer_is_written_before_the_first_child(team: Team) -> None:
    """The finalizer is written before the first child.

    If the operator is killed in between, a deletion must still find the child.
    """
    team.cluster.put(schedule())
    team.cluster.fail_at = 2
    with pytest.raises(Killed):
        await team.reconcile()
    found = team.cluster.get("BotSchedule", TEAM, "weekly-news")
    assert found is not None
    assert found["metadata"]["finalizers"] == [FINALIZER]


async def test_a_changed_image_option_reaches_the_cronjob(team: Team) -> None:
    """A changed image option reaches the CronJob.

    The option is separate from the operator's own image, so the image of runs changes only on purpose.
    """
    team.cluster.put(schedule())
    await team.reconcile()
    team.options = dataclasses.replace(team.options, image="registry.example.org/waypost@sha256:1")
    await team.reconcile()
    image = team.cron_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.endswith("sha256:1")
