"""A schedule's children have valid names, an order that the run understands, and a pod with few rights."""

import copy
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from waypost.contracts import order
from waypost.operator.api.schedule_models import ScheduleSpec
from waypost.operator.cluster.interface import Manifest
from waypost.operator.options import JobOptions, OperatorOptions
from waypost.operator.schedule import children
from waypost.operator.schedule.children import Owner
from waypost.schedule import tick
from waypost.schedule.run import parse_action

from .schedules import CONTACT, NUMBER_ID, OPTIONS, message, schedule

OWNER = Owner("team-a", "weekly-news", "5f0c7c1e-0d3c-4a57-9d0e-3d1f0c0d7a11")
names = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


def spec(**changes: Any) -> ScheduleSpec:
    """Returns a valid spec."""
    return ScheduleSpec.model_validate(schedule(**changes)["spec"])


def cron_job(*, suspend: bool = False, traceparent: str | None = None, **changes: Any) -> Manifest:
    """Returns the CronJob of a spec."""
    return children.cron_job(OWNER, spec(**changes), OPTIONS, suspend=suspend, traceparent=traceparent)


def pod(manifest: Manifest) -> Manifest:
    """Returns the pod's spec in a CronJob."""
    found: Manifest = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


@given(names, names)
def test_a_childs_name_is_valid_in_kubernetes(namespace: str, name: str) -> None:
    """The name of a child is valid in Kubernetes, and short enough to append the planned minute."""
    child = Owner(namespace, name, "uid").child
    assert len(child) <= 52
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", child)
    assert tick.minute_of_job(f"{child}-29730780")


@given(st.lists(st.tuples(names, names), min_size=2, max_size=2, unique=True))
def test_two_schedules_never_share_a_child(pair: list[tuple[str, str]]) -> None:
    """Two schedules never have children with the same name.

    This holds for `a-b/c` and `a/b-c`, and for long names that differ only in the part that is cut off.
    """
    first, second = (Owner(*each, "uid").child for each in pair)
    assert first != second


@pytest.mark.parametrize(
    "action",
    [
        message(),
        message(quietHours={"from": "21:00", "to": "08:00"}, maxRecipients=7),
        message(template={"name": "news", "language": "pt_BR", "components": [{"type": "body", "parameters": []}]}),
        {"message": {"text": "ciao è già", "audience": {"contacts": [CONTACT]}}},
        {"tokenCheck": {"warnDays": 7}},
    ],
)
def test_the_run_understands_the_order(action: dict[str, Any]) -> None:
    """The run can read every order that the operator writes."""
    read = order.load(children.order(OWNER, spec(action=action), NUMBER_ID))
    assert (read.uid, read.namespace, read.name) == (OWNER.uid, "team-a", "weekly-news")
    assert (read.number, read.number_id, read.time_zone) == ("support", NUMBER_ID, "Europe/Rome")
    assert parse_action(read).chosen[0] == next(iter(action))


def test_the_examples_become_orders(pytestconfig: pytest.Config) -> None:
    """The schedules in `examples/` become orders that the run can read, without any change."""
    documents = list(yaml.safe_load_all((pytestconfig.rootpath / "examples/schedule.yaml").read_text()))
    for document in documents:
        read = order.load(children.order(OWNER, ScheduleSpec.model_validate(document["spec"]), NUMBER_ID))
        assert parse_action(read)
    assert len(documents) == 2


def test_no_contact_is_in_the_cronjob() -> None:
    """The CronJob contains no contact, because more people may read the CronJob than the Secret."""
    assert CONTACT[1:] not in str(cron_job())


def test_the_pod_is_restricted_and_has_no_service_account_token() -> None:
    """The pod meets the Pod Security Standard `restricted`, and cannot use the Kubernetes API."""
    found = pod(cron_job())
    (container,) = found["containers"]
    assert found["automountServiceAccountToken"] is False
    assert found["serviceAccountName"] == "waypost-job"
    assert found["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


def test_a_run_has_limits_of_time_retries_and_history() -> None:
    """A run has limits for its time, its retries and its history.

    A run that would also fail in another pod is not tried again.
    """
    found = cron_job()["spec"]
    job = found["jobTemplate"]["spec"]
    assert (job["activeDeadlineSeconds"], job["backoffLimit"], job["ttlSecondsAfterFinished"]) == (900, 3, 86_400)
    assert (found["successfulJobsHistoryLimit"], found["failedJobsHistoryLimit"]) == (2, 3)
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]


def test_only_a_token_check_sees_an_access_token() -> None:
    """Only the pod of a token check gets an access token, and this is the token of its own number.

    The Secret of the registry contains the tokens of many numbers.
    """
    assert "waypost-registry" not in str(cron_job())

    made = children.cron_job(
        OWNER, spec(action={"tokenCheck": {}}), OPTIONS, suspend=False, traceparent=None, registry_shard=17
    )
    (volume,) = [each for each in pod(made)["volumes"] if each["name"] == "registry"]
    assert volume["secret"]["secretName"] == "waypost-registry-number-17"
    assert volume["secret"]["items"] == [{"key": "team-a.support.json", "path": "team-a.support.json"}]


def test_a_token_check_finds_a_number_that_the_previous_version_published() -> None:
    """If the status does not say where a number's entry is, a token check mounts a Secret of the previous version.

    This is the case during an upgrade, before the new version has published the number.
    """
    (volume,) = [each for each in pod(cron_job(action={"tokenCheck": {}}))["volumes"] if each["name"] == "registry"]
    assert volume["secret"]["secretName"] in {f"waypost-registry-worker-{each}" for each in range(4)}


def test_the_pod_has_the_platforms_options() -> None:
    """The pod has the platform's options. Variables and labels that the operator itself sets take precedence."""
    job = JobOptions(
        environment=(
            {"name": "WAYPOST_DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}},
            {"name": "WAYPOST_SCHEDULE_ORDER", "value": "/etc/passwd"},
        ),
        pod_labels={"team": "platform", "waypost.dev/schedule-uid": "another"},
        image_pull_secrets=("pull",),
        node_selector={"disk": "fast"},
    )
    options = OperatorOptions(release_namespace="r", public_url="https://x", image="i", job=job)
    made = children.cron_job(OWNER, spec(), options, suspend=False, traceparent=None)
    variables = {each["name"]: each for each in pod(made)["containers"][0]["env"]}
    labels = made["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]

    assert variables["WAYPOST_DATABASE_URL"]["valueFrom"]["secretKeyRef"]["name"] == "db"
    assert variables["WAYPOST_SCHEDULE_ORDER"]["value"] == "/etc/waypost/schedule/order.json"
    assert len(variables) == len(pod(made)["containers"][0]["env"])
    assert (labels["team"], labels["waypost.dev/schedule-uid"]) == ("platform", OWNER.uid)
    assert (pod(made)["nodeSelector"], pod(made)["imagePullSecrets"]) == ({"disk": "fast"}, [{"name": "pull"}])


def served(manifest: Manifest) -> Manifest:
    """Returns the CronJob as an API server would return it.

    The API server adds defaults and a status. Other clients add fields of their own.
    """
    found = copy.deepcopy(manifest)
    found["status"] = {"lastScheduleTime": "2026-11-23T09:00:00Z"}
    found["metadata"] |= {"uid": "u", "generation": 3}
    found["metadata"]["annotations"]["other.example.org/note"] = "kept"
    template = pod(found)
    template |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    container = template["containers"][0]
    container |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePolicy": "File"}
    container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    container["env"].append({"name": "INJECTED", "value": "by another"})
    return found


def test_additions_of_the_api_server_cause_no_write() -> None:
    """Additions of the API server to a CronJob cause no write.

    Otherwise every resync would write, and every write would cause a reconcile.
    """
    assert children.is_as_desired(served(cron_job()), cron_job())


def test_another_trace_causes_no_write() -> None:
    """A new trace context alone causes no write, because each reconcile has a new one."""
    before = served(cron_job(traceparent="00-" + "1" * 32 + "-" + "1" * 16 + "-01"))
    assert children.is_as_desired(before, cron_job(traceparent="00-" + "2" * 32 + "-" + "2" * 16 + "-01"))
    assert children.is_as_desired(before, cron_job(traceparent=None))


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found["spec"].update(suspend=True),
        lambda found: found["spec"].update(schedule="* * * * *"),
        lambda found: found["metadata"]["labels"].pop("waypost.dev/schedule-uid"),
        lambda found: pod(found)["containers"][0].update(image="another"),
        lambda found: pod(found).update(automountServiceAccountToken=True),
        lambda found: pod(found)["containers"][0]["env"].pop(0),
        lambda found: pod(found)["containers"][0]["securityContext"]["capabilities"].update(drop=[]),
    ],
)
def test_an_edit_causes_a_write(edit: Any) -> None:
    """An edit of the CronJob causes a write, which repairs the drift from the desired CronJob."""
    drifted = served(cron_job())
    edit(drifted)
    assert not children.is_as_desired(drifted, cron_job())


def test_a_field_that_is_no_longer_desired_causes_a_write() -> None:
    """A field that is no longer desired causes a write.

    The desired CronJob lacks the field, so a comparison would not find it. The digest shows the difference.
    """
    assert not children.is_as_desired(served(cron_job(action={"tokenCheck": {}})), cron_job())
    assert not children.is_as_desired(None, cron_job())
