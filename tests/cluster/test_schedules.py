"""Schedules on a real API server: what the server accepts, what it adds by itself, and what it refuses."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from waypost.operator.cluster import connection
from waypost.operator.cluster.api_calls import KubernetesCalls
from waypost.operator.cluster.interface import Manifest
from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.engine.object_cache import ObjectCache
from waypost.operator.engine.outcome import Result
from waypost.operator.options import OperatorOptions
from waypost.operator.schedule.reconcile import ScheduleReconciler
from waypost.telemetry import tracing

from ..untyped import untyped
from .conftest import end

pytestmark = pytest.mark.cluster

Found = TypeVar("Found")
CONTACT = "+393331234567"
SPEC: dict[str, Any] = {
    "numberRef": {"name": "support"},
    "schedule": "0 9 * * 1",
    "timeZone": "Europe/Rome",
    "action": {
        "message": {
            "template": {"name": "weekly_news", "language": "it"},
            "audience": {"contacts": [CONTACT]},
            "quietHours": {"from": "21:00", "to": "08:00"},
        }
    },
}


class Place:
    """A tenant's namespace with a connected number, a release namespace, and the reconciler that uses both."""

    def __init__(self, api: client.ApiClient, kubeconfig: Path, tenant: str, release: str) -> None:
        self.objects = client.CustomObjectsApi(api)
        self.batch = client.BatchV1Api(api)
        self.core = client.CoreV1Api(api)
        self._kubeconfig = kubeconfig
        self.tenant = tenant
        self.options = OperatorOptions(
            release_namespace=release, public_url="https://hooks.example.org", image="registry.example.org/waypost:1"
        )

    def add_number(self) -> None:
        """Creates a number with the status of a connected number."""
        spec = {"phoneNumberId": "106540352242922", "wabaId": "102290129340398", "credentialsRef": {"name": "meta"}}
        made = self._create("whatsappnumbers", "WhatsAppNumber", "support", spec)
        condition = {"status": "True", "reason": "Connected", "lastTransitionTime": "2026-11-23T09:00:00Z"}
        conditions = [{"type": each, **condition} for each in ("Ready", "Registered")]
        made["status"] = {"conditions": conditions, "registryShard": 3}
        self.objects.replace_namespaced_custom_object_status(
            "waypost.dev", "v1alpha1", self.tenant, "whatsappnumbers", "support", made
        )

    def add_schedule(self, name: str = "weekly-news", **spec: Any) -> None:
        """Creates a schedule, as a user would do."""
        self._create("botschedules", "BotSchedule", name, SPEC | spec)

    def _create(self, plural: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": "waypost.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        made: dict[str, Any] = untyped(
            self.objects.create_namespaced_custom_object("waypost.dev", "v1alpha1", self.tenant, plural, body)
        )
        return made

    def patch(self, merge: dict[str, Any]) -> None:
        """Merges a change into the schedule."""
        self.objects.patch_namespaced_custom_object(
            "waypost.dev", "v1alpha1", self.tenant, "botschedules", "weekly-news", merge
        )

    def reconcile(self, name: str = "weekly-news") -> Result:
        """Reconciles or finalizes the schedule once. Opens a new trace, as the controller does."""

        async def once(cluster: KubernetesCluster) -> Result:
            manifest = await cluster.read("BotSchedule", self.tenant, name)
            assert manifest is not None
            reconciler = ScheduleReconciler(cluster, self.options)
            with tracing.tracer().start_as_current_span("reconcile"):
                if manifest["metadata"].get("deletionTimestamp"):
                    return await reconciler.finalize(manifest)
                return await reconciler.reconcile(manifest)

        return self.with_cluster(once)

    def with_cluster(self, use: Callable[[KubernetesCluster], Awaitable[Found]]) -> Found:
        """Calls the function with the operator's own view of the cluster, and returns the function's result."""

        async def used() -> Found:
            calls = KubernetesCalls(
                await connection.client(self._kubeconfig), lambda: connection.configuration(self._kubeconfig)
            )
            cluster = KubernetesCluster(calls, ObjectCache(), release_namespace=self.options.release_namespace)
            try:
                return await use(cluster)
            finally:
                await cluster.close()

        return asyncio.run(used())

    def schedule(self, name: str = "weekly-news") -> Manifest:
        """Returns the schedule as it is stored."""
        found: Manifest = untyped(
            self.objects.get_namespaced_custom_object("waypost.dev", "v1alpha1", self.tenant, "botschedules", name)
        )
        return found

    def condition(self, type_: str) -> tuple[str, str, str]:
        """Returns the status, the reason and the message of a condition of the schedule."""
        each = next(each for each in self.schedule()["status"]["conditions"] if each["type"] == type_)
        return each["status"], each["reason"], each["message"]

    def cron_jobs(self) -> list[Any]:
        """Returns all CronJobs of the release namespace."""
        found: list[Any] = self.batch.list_namespaced_cron_job(self.options.release_namespace).items
        return found

    def versions(self) -> list[str]:
        """Returns the resource versions of everything that concerns schedules.

        If two calls return the same versions, nothing was written in between.
        """
        secrets = untyped(self.core.list_namespaced_secret(self.options.release_namespace)).items
        return [
            self.schedule()["metadata"]["resourceVersion"],
            *(each.metadata.resource_version for each in [*self.cron_jobs(), *secrets]),
        ]


@pytest.fixture
def place(api: client.ApiClient, kubeconfig: Path, namespace: str) -> Iterator[Place]:
    """Yields a place in two new namespaces. The release namespace accepts only restricted pods."""
    release = f"wp-{uuid.uuid4().hex[:10]}"
    core = client.CoreV1Api(api)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace(untyped({"metadata": {"name": release, "labels": labels}}))
    # A whole cluster refuses pods whose service account does not exist.
    core.create_namespaced_service_account(release, untyped({"metadata": {"name": OperatorOptions.service_account}}))
    made = Place(api, kubeconfig, namespace, release)
    made.add_number()
    yield made
    end(api, release)


def test_the_cronjob_is_accepted_and_the_schedule_is_ready(place: Place) -> None:
    """The CronJob is accepted, and the schedule becomes ready.

    The API server accepts the CronJob by server-side apply, with its time zone and the settings of its pods.
    """
    place.add_schedule()
    assert place.reconcile().outcome == "ready"

    (cron_job,) = place.cron_jobs()
    assert (cron_job.spec.time_zone, cron_job.spec.suspend) == ("Europe/Rome", False)
    assert place.schedule()["status"]["cronJobName"] == cron_job.metadata.name
    assert place.condition("Ready")[:2] == ("True", "Scheduled")


def test_defaults_of_the_api_server_cause_no_second_write(place: Place) -> None:
    """Defaults of the API server cause no second write.

    The API server adds defaults to the CronJob, and each reconcile has a new trace. Nevertheless, repeated
    reconciles write nothing.
    """
    place.add_schedule()
    place.reconcile()
    before = place.versions()
    for _ in range(3):
        place.reconcile()
    assert place.versions() == before


@pytest.mark.parametrize(
    ("spec", "reason", "quoted"),
    [
        ({"timeZone": "Mars/Olympus"}, "InvalidTimeZone", "Mars/Olympus"),
        ({"schedule": "61 * * * *"}, "InvalidSchedule", "61"),
        ({"schedule": "0 9 * * 8"}, "InvalidSchedule", "8"),
    ],
)
def test_a_refused_schedule_is_stalled_and_its_condition_quotes_the_api_server(
    place: Place, spec: dict[str, Any], reason: str, quoted: str
) -> None:
    """A refused schedule is stalled, and its condition quotes the API server.

    Only the API server knows which time zones and cron expressions it accepts.
    """
    place.add_schedule(**spec)
    assert place.reconcile().outcome == "stalled"
    status, found, message = place.condition("Stalled")
    assert (status, found) == ("True", reason)
    assert quoted in message
    assert place.cron_jobs() == []


def test_pods_of_runs_meet_the_restricted_standard(place: Place) -> None:
    """The pods of runs meet the restricted standard.

    The API server's admission accepts these pods, and refuses a pod with fewer restrictions.
    """
    place.add_schedule()
    place.reconcile()
    (cron_job,) = place.cron_jobs()
    template = untyped(client.ApiClient()).sanitize_for_serialization(cron_job.spec.job_template.spec.template)

    def pod(name: str, spec: dict[str, Any]) -> None:
        body = {"metadata": {"name": name}, "spec": spec}
        place.core.create_namespaced_pod(place.options.release_namespace, untyped(body), dry_run="All")

    pod("as-made", template["spec"])
    loose = deepcopy(template["spec"])
    loose["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(ApiException, match="PodSecurity"):
        pod("loose", loose)


def test_an_edited_cronjob_is_corrected_and_fields_of_others_stay(place: Place) -> None:
    """An edited CronJob is corrected.

    Server-side apply restores the fields that the operator owns. All other fields stay as they are.
    """
    place.add_schedule()
    place.reconcile()
    (cron_job,) = place.cron_jobs()
    where = cron_job.metadata.name, place.options.release_namespace
    place.batch.patch_namespaced_cron_job(*where, {"metadata": {"annotations": {"note": "kept"}}})
    place.batch.patch_namespaced_cron_job(*where, {"spec": {"schedule": "* * * * *", "suspend": True}})

    place.reconcile()

    (cron_job,) = place.cron_jobs()
    assert (cron_job.spec.schedule, cron_job.spec.suspend) == ("0 9 * * 1", False)
    assert cron_job.metadata.annotations["note"] == "kept"


def test_a_changed_action_removes_the_old_action_s_volume(place: Place) -> None:
    """If the action of a schedule changes, the volume of the old action is removed.

    A token check mounts the registry, and a message does not.
    """
    place.add_schedule(action={"tokenCheck": {}})
    place.reconcile()
    volumes = place.cron_jobs()[0].spec.job_template.spec.template.spec.volumes
    assert [each.name for each in volumes] == ["order", "tmp", "registry"]

    place.patch({"spec": {"action": {"tokenCheck": None, **SPEC["action"]}}})
    place.reconcile()

    (cron_job,) = place.cron_jobs()
    assert [each.name for each in cron_job.spec.job_template.spec.template.spec.volumes] == ["order", "tmp"]
    before = place.versions()
    place.reconcile()
    assert place.versions() == before


def test_a_deleted_schedule_deletes_its_children(place: Place) -> None:
    """If a schedule is deleted, the operator deletes its children.

    The garbage collector would not delete them, because they are in another namespace.
    """
    place.add_schedule()
    place.reconcile()
    place.objects.delete_namespaced_custom_object(
        "waypost.dev", "v1alpha1", place.tenant, "botschedules", "weekly-news"
    )
    place.reconcile()

    assert place.cron_jobs() == []
    assert place.core.list_namespaced_secret(place.options.release_namespace).items == []
    with pytest.raises(ApiException) as gone:
        place.schedule()
    assert gone.value.status == 404


def test_a_cronjob_that_outlived_its_schedule_is_swept(place: Place) -> None:
    """A CronJob that outlived its schedule is removed by the sweep.

    Here, somebody removed the finalizer of the schedule by hand.
    """
    place.add_schedule()
    place.reconcile()
    place.patch({"metadata": {"finalizers": None}})
    place.objects.delete_namespaced_custom_object(
        "waypost.dev", "v1alpha1", place.tenant, "botschedules", "weekly-news"
    )

    swept = place.with_cluster(lambda cluster: ScheduleReconciler(cluster, place.options).sweep())

    assert len(swept) == 1
    assert place.cron_jobs() == []
