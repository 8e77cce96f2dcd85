"""Tests of a CronJob that fires.

They cover how Kubernetes' own controllers name the Job, and how the run's report reaches the status.

The tests need the CronJob and Job controllers. A whole cluster runs these controllers. Beside a bare API
server, a kube-controller-manager must run them. The tests need no node, and no node can take their pods. The
tests write the statuses of the pods in place of the kubelet.
"""

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kubernetes import client

from waypost.schedule import tick

from ..untyped import untyped
from .conftest import until
from .test_schedules import Place, place  # noqa: F401 - a fixture

pytestmark = pytest.mark.cluster


@pytest.fixture
def controllers(kubeconfig: Path, tmp_path: Path) -> Iterator[None]:
    """Runs the controllers that an API server alone does not have."""
    if os.environ.get("WAYPOST_TEST_KUBECONFIG"):
        yield
        return
    program = Path(os.environ["WAYPOST_TEST_KUBEBIN"]) / "kube-controller-manager"
    if not program.exists():
        pytest.skip("kube-controller-manager is not in WAYPOST_TEST_KUBEBIN")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--kubeconfig={kubeconfig}",
                "--controllers=cronjob-controller,job-controller",
                "--leader-elect=false",
                "--secure-port=0",
            ],
            stdout=log,
            stderr=log,
        )
    yield
    process.terminate()
    process.wait(30)


@pytest.fixture
def nodeless(place: Place) -> Place:  # noqa: F811 - the fixture
    """Returns a place whose schedules make pods that no node takes."""
    job = dataclasses.replace(place.options.job, node_selector={"waypost.dev/test": "nowhere"})
    place.options = dataclasses.replace(place.options, job=job)
    return place


@pytest.mark.fault("K5")
def test_a_run_finds_its_planned_minute_and_its_report_reaches_the_status(nodeless: Place, controllers: None) -> None:
    """A run finds its planned minute, and its report reaches the status.

    The minute is in the pod's Job label. `status.lastRun` comes from the pod's termination message.
    """
    release = nodeless.options.release_namespace
    nodeless.add_schedule(schedule="* * * * *", timeZone="Etc/UTC")
    nodeless.reconcile()
    before = datetime.now(UTC)

    until(lambda: nodeless.core.list_namespaced_pod(release).items)

    pod = untyped(nodeless.core.list_namespaced_pod(release)).items[0]
    (run,) = pod.spec.containers
    by_label = "metadata.labels['batch.kubernetes.io/job-name']"
    assert any(each.value_from and each.value_from.field_ref.field_path == by_label for each in run.env)
    planned_at = tick.minute_of_job(pod.metadata.labels["batch.kubernetes.io/job-name"])
    assert planned_at.second == 0
    assert timedelta(0) <= planned_at - before.replace(second=0, microsecond=0) <= timedelta(minutes=2)

    report = {"finishedAt": "2026-11-23T09:00:07Z", "result": "Succeeded", "recipients": 1, "sent": 1}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    terminated = {"exitCode": 0, "message": json.dumps(report), "startedAt": now, "finishedAt": now}
    container = {"name": "run", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    nodeless.core.patch_namespaced_pod_status(
        pod.metadata.name,
        release,
        {"status": {"phase": "Succeeded", "containerStatuses": [container | {"state": {"terminated": terminated}}]}},
    )
    until(lambda: nodeless.cron_jobs()[0].status.last_successful_time)
    nodeless.reconcile()

    last_run = nodeless.schedule()["status"]["lastRun"]
    assert last_run["plannedAt"] == planned_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert last_run["plannedAt"] == nodeless.cron_jobs()[0].status.last_schedule_time.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (last_run["result"], last_run["sent"]) == ("Succeeded", 1)


@pytest.mark.slow
@pytest.mark.fault("K5")
def test_each_minute_without_an_operator_has_one_job_by_the_plan_that_was_applied(
    nodeless: Place, controllers: None
) -> None:
    """Kubernetes starts one Job for each planned minute while no operator runs, by the time zone of the CronJob.

    The schedule's time zone is changed in that time. The operator applies it when it is back, and no minute that had a
    Job gets another.
    """
    release = nodeless.options.release_namespace
    batch = client.BatchV1Api(nodeless.core.api_client)

    def minutes() -> list[datetime]:
        return sorted(
            tick.minute_of_job(each.metadata.name) for each in untyped(batch.list_namespaced_job(release)).items
        )

    minute = (datetime.now(UTC) + timedelta(seconds=70)).replace(second=0, microsecond=0)
    planned = [minute, minute + timedelta(minutes=1)]
    both = ",".join(str(each.minute) for each in planned)
    nodeless.add_schedule(schedule=f"{both} * * * *", timeZone="Etc/UTC", concurrencyPolicy="Allow")
    nodeless.reconcile()
    # In Kathmandu these minutes of the hour are a quarter of an hour away.
    nodeless.patch({"spec": {"timeZone": "Asia/Kathmandu"}})
    until(lambda: minutes() == planned)

    nodeless.reconcile()
    assert nodeless.cron_jobs()[0].spec.time_zone == "Asia/Kathmandu"
    seen = nodeless.cron_jobs()[0].metadata.generation
    assert seen > 1
    assert minutes() == planned


def test_a_run_that_a_retry_cannot_help_fails_its_job_at_once(nodeless: Place, controllers: None) -> None:
    """If a retry cannot help a failed run, the Job of the run fails at once.

    Exit status 2 means that three more pods would fail in the same way.
    """
    release = nodeless.options.release_namespace
    nodeless.add_schedule()
    nodeless.reconcile()
    jobs = client.BatchV1Api(nodeless.core.api_client)
    # `kubectl create job --from=cronjob/…` does the same, so the test need not wait for the planned minute.
    template = nodeless.cron_jobs()[0].spec.job_template
    template.metadata.name = job = "by-hand"
    jobs.create_namespaced_job(release, untyped({"metadata": template.metadata, "spec": template.spec}))
    until(lambda: nodeless.core.list_namespaced_pod(release).items)
    pod = untyped(nodeless.core.list_namespaced_pod(release)).items[0]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    terminated = {"exitCode": 2, "startedAt": now, "finishedAt": now}
    container = {"name": "run", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    nodeless.core.patch_namespaced_pod_status(
        pod.metadata.name,
        release,
        {"status": {"phase": "Failed", "containerStatuses": [container | {"state": {"terminated": terminated}}]}},
    )

    def reasons() -> set[str]:
        found = untyped(jobs.read_namespaced_job(job, release))
        return {
            each.reason for each in found.status.conditions or () if each.type == "Failed" and each.status == "True"
        }

    until(reasons)
    assert reasons() == {"PodFailurePolicy"}
