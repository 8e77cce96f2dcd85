"""Builds the children of a `BotSchedule`: a Secret with the order, and a CronJob whose runs carry out the order.

The code has no side effects. The children are in the release namespace. docs/adr/0005-where-schedules-run.md
explains the reason.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.contracts.order import Order
from waypost.operator.api.number_models import GROUP
from waypost.operator.api.schedule_models import ScheduleSpec
from waypost.operator.cluster import previous_registry, registry_secrets, registry_shards
from waypost.operator.cluster.interface import Manifest, Stored
from waypost.operator.engine.wakes import SCHEDULE_NAME, SCHEDULE_NAMESPACE
from waypost.operator.options import OperatorOptions

SCHEDULE_UID = f"{GROUP}/schedule-uid"
"""Label of everything that is created for a schedule, pods included."""
NUMBER_UID = f"{GROUP}/number-uid"
"""Label of the order's Secret, which holds the uid of the number that was found usable. A number that is deleted and
created again under the same name has another uid."""
DESIRED = f"{GROUP}/desired"
"""Annotation of a CronJob, which holds a digest of the desired CronJob without its trace context. A different digest
shows that the CronJob has fields that are no longer desired."""
MANAGER = "waypost-schedule"
"""Name under which server-side apply records the fields of schedules' children as the operator's (field manager)."""

LONGEST_NAME = 52
"""Longest name of a CronJob, in characters. The names of its Jobs have eleven characters more and become label values,
which have at most 63."""

CONTAINER = "run"
ORDER_KEY = "order.json"
ORDER_FOLDER = "/etc/waypost/schedule"
REGISTRY_FOLDER = "/etc/waypost/registry"
REPORT = "/dev/termination-log"
NO_RETRY = 2
"""Exit status of a run that would fail in any other pod, too."""
_JOB_NAME = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Owner:
    """The schedule that owns the children."""

    namespace: str
    name: str
    uid: str

    @property
    def child(self) -> str:
        """Name of the CronJob and of the Secret. The name ends with a digest.

        With the digest, `a-b/c` and `a/b-c` get different names. Long names are cut. The digest also distinguishes
        two long names that begin in the same way.
        """
        whole = f"{self.namespace}/{self.name}"
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        return f"{whole.replace('/', '-')[: LONGEST_NAME - 9].rstrip('-')}-{digest}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all children."""
        return {
            **registry_shards.LABELS,
            "app.kubernetes.io/component": "schedule",
            SCHEDULE_NAMESPACE: self.namespace,
            SCHEDULE_NAME: self.name,
            SCHEDULE_UID: self.uid,
        }


def order(owner: Owner, spec: ScheduleSpec, number_id: str) -> bytes:
    """Returns the content of the order's file, which `waypost schedule run` reads."""
    return Order(
        uid=owner.uid,
        namespace=owner.namespace,
        name=owner.name,
        number=spec.number_ref.name,
        number_id=number_id,
        time_zone=spec.time_zone,
        action=spec.action.model_dump(mode="json", by_alias=True, exclude_none=True),
    ).to_json()


def secret(owner: Owner, content: bytes, number_uid: str, options: OperatorOptions) -> Manifest:
    """Returns the Secret with the order. The order names contacts, so a ConfigMap must not hold it."""
    labels = {**owner.labels, NUMBER_UID: number_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": options.release_namespace, "name": owner.child, "labels": labels},
        "type": "Opaque",
        "data": {ORDER_KEY: base64.b64encode(content).decode()},
    }


def is_current(stored: Stored | None, desired: Manifest) -> bool:
    """Returns whether the stored Secret is as desired."""
    return (
        stored is not None
        and stored.data.get(ORDER_KEY) == base64.b64decode(desired["data"][ORDER_KEY])
        and _is_part(desired["metadata"]["labels"], stored.labels)
    )


def cron_job(
    owner: Owner,
    spec: ScheduleSpec,
    options: OperatorOptions,
    *,
    suspend: bool,
    traceparent: str | None,
    registry_shard: int | None = None,
) -> Manifest:
    """Returns the desired CronJob, without the defaults that the API server fills in.

    `registry_shard` says where the number's entry is (`status.registryShard`). It is None if an operator of the
    previous version has published the number.

    `traceparent` is the trace context of the reconcile that applies the CronJob. The CronJob's runs link to it.
    Comparisons of CronJobs ignore the trace context, because otherwise every reconcile would write the CronJob.
    """
    job = options.job
    desired: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"namespace": options.release_namespace, "name": owner.child, "labels": owner.labels},
        "spec": {
            "schedule": spec.schedule,
            "timeZone": spec.time_zone,
            "suspend": suspend,
            "concurrencyPolicy": spec.concurrency_policy,
            "startingDeadlineSeconds": spec.starting_deadline_seconds,
            "successfulJobsHistoryLimit": job.history_successful,
            "failedJobsHistoryLimit": job.history_failed,
            "jobTemplate": {
                "metadata": {"labels": owner.labels},
                "spec": {
                    "activeDeadlineSeconds": job.deadline_s,
                    "backoffLimit": job.backoff_limit,
                    "ttlSecondsAfterFinished": job.ttl_s,
                    "podFailurePolicy": {
                        "rules": [
                            {
                                "action": "FailJob",
                                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [NO_RETRY]},
                            },
                            {
                                "action": "Ignore",
                                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                            },
                        ]
                    },
                    "template": {
                        "metadata": {"labels": {**job.pod_labels, **owner.labels}},
                        "spec": _pod(owner, spec, options, registry_shard),
                    },
                },
            },
        },
    }
    digest = hashlib.sha256(json.dumps(desired, sort_keys=True).encode()).hexdigest()[:16]
    desired["metadata"]["annotations"] = {DESIRED: digest}
    _set_traceparent(desired, traceparent)
    return desired


def is_as_desired(observed: Manifest | None, desired: Manifest) -> bool:
    """Returns whether applying `desired` would change nothing.

    Fields that the operator does not set (defaults, status, annotations of others) are ignored.
    """
    if observed is None:
        return False
    expected = json.loads(json.dumps(desired))
    _set_traceparent(expected, traceparent_of(observed))
    return _is_part(expected, observed)


def traceparent_of(cron_job: Manifest) -> str | None:
    """Returns the trace context that the runs of this CronJob link to."""
    try:
        variables = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"]
    except (KeyError, IndexError, TypeError):
        return None
    found = (each.get("value") for each in variables if each.get("name") == "TRACEPARENT")
    return next((value for value in found if isinstance(value, str)), None)


def _set_traceparent(cron_job: Manifest, value: str | None) -> None:
    variables = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"]
    variables[:] = [each for each in variables if each["name"] != "TRACEPARENT"]
    if value is not None:
        variables.append({"name": "TRACEPARENT", "value": value})


def _is_part(expected: Any, observed: Any) -> bool:
    if isinstance(expected, Mapping):
        return isinstance(observed, Mapping) and all(
            _is_part(value, observed.get(name)) for name, value in expected.items()
        )
    if isinstance(expected, list):
        if isinstance(observed, list) and all(isinstance(each, Mapping) and "name" in each for each in expected):
            # Others may add to lists that are merged by name. An element that is no longer desired changes the digest.
            by_name = {each.get("name"): each for each in observed if isinstance(each, Mapping)}
            return all(_is_part(each, by_name.get(each["name"])) for each in expected)
        return (
            isinstance(observed, list)
            and len(expected) == len(observed)
            and all(_is_part(*pair) for pair in zip(expected, observed, strict=True))
        )
    return bool(expected == observed)


def _pod(owner: Owner, spec: ScheduleSpec, options: OperatorOptions, registry_shard: int | None) -> Manifest:
    """Returns the pod of a run.

    The pod meets the restricted Pod Security Standard and has no access to the Kubernetes API.
    """
    job = options.job
    volumes: list[Mapping[str, Any]] = [
        {"name": "order", "secret": {"secretName": owner.child}},
        {"name": "tmp", "emptyDir": {}},
        *job.volumes,
    ]
    mounts: list[Mapping[str, Any]] = [
        {"name": "order", "mountPath": ORDER_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the container
        *job.volume_mounts,
    ]
    own: list[Manifest] = [
        {"name": "WAYPOST_SCHEDULE_JOB", "valueFrom": _field(f"metadata.labels['{_JOB_NAME}']")},
        {"name": "WAYPOST_SCHEDULE_ORDER", "value": f"{ORDER_FOLDER}/{ORDER_KEY}"},
        {"name": "WAYPOST_SCHEDULE_REPORT", "value": REPORT},
        {"name": "POD_NAME", "valueFrom": _field("metadata.name")},
        {"name": "POD_NAMESPACE", "valueFrom": _field("metadata.namespace")},
    ]
    _, action, _ = spec.action.chosen
    if action.pod.access_token:
        # The Secret holds many numbers; the pod sees the entry of its own alone.
        key = registry_secrets.key(owner.namespace, spec.number_ref.name)
        if registry_shard is not None:
            name = registry_shards.secret_name("number", registry_shard)
        else:
            name = previous_registry.worker_secret(previous_registry.home(owner.namespace, spec.number_ref.name))
        volumes.append({"name": "registry", "secret": {"secretName": name, "items": [{"key": key, "path": key}]}})
        mounts.append({"name": "registry", "mountPath": f"{REGISTRY_FOLDER}/worker", "readOnly": True})
        own.append({"name": "WAYPOST_REGISTRY_DIR", "value": REGISTRY_FOLDER})
    reserved = {each["name"] for each in own} | {"TRACEPARENT"}
    container: Manifest = {
        "name": CONTAINER,
        "image": options.image,
        "command": ["waypost", "schedule", "run"],
        # Server-side apply refuses a list with the same name twice.
        "env": [*(dict(each) for each in job.environment if each["name"] not in reserved), *own],
        "resources": {"requests": dict(job.requests), "limits": dict(job.limits)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": REPORT,
        "volumeMounts": [dict(each) for each in mounts],
    }
    if job.environment_from:
        container["envFrom"] = [dict(each) for each in job.environment_from]
    pod: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": options.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [dict(each) for each in volumes],
    }
    if job.node_selector:
        pod["nodeSelector"] = dict(job.node_selector)
    if job.tolerations:
        pod["tolerations"] = [dict(each) for each in job.tolerations]
    if job.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in job.image_pull_secrets]
    if job.priority_class:
        pod["priorityClassName"] = job.priority_class
    return pod


def _field(path: str) -> Manifest:
    return {"fieldRef": {"fieldPath": path}}
