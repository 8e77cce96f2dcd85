"""That upgrades, drains and scaling lose nothing."""

import pytest

from waypost.lanes.job import JOB_TIMEOUT_S
from waypost.settings import Settings
from waypost.webhook.server import LAST_ANSWERS_S

from .rendered import Rendered, render

GRAPH_TIMEOUT_S = Settings.model_fields["graph_timeout_s"].default


def test_a_webhook_rollout_keeps_every_place_taken(chart: Rendered) -> None:
    """A new pod is ready before an old one goes."""
    strategy = chart.one("Deployment", "webhook")["spec"]["strategy"]["rollingUpdate"]

    assert strategy["maxUnavailable"] == 0
    assert strategy["maxSurge"] >= 1


def test_a_webhook_outlives_its_place_in_the_service(chart: Rendered) -> None:
    """It answers while proxies still send to it, and then has its whole time to finish what is in flight."""
    pod = chart.pod("webhook")
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    drain_s = float(environment["WAYPOST_DRAIN_S"])

    assert drain_s >= 5
    assert pod["terminationGracePeriodSeconds"] >= drain_s + LAST_ANSWERS_S + 5


def test_a_worker_may_finish_its_longest_job(chart: Rendered) -> None:
    """RQ ends a drain that hangs, then the last Graph call ends; only after that may the pod be killed."""
    assert chart.pod("worker")["terminationGracePeriodSeconds"] > JOB_TIMEOUT_S + GRAPH_TIMEOUT_S + 5


def test_a_longer_graph_deadline_lengthens_the_grace_period(helm: None) -> None:
    """The two are one decision."""
    short, long = (render("trial", (f"worker.graphTimeoutSeconds={n}",)).pod("worker") for n in (30, 120))

    assert long["terminationGracePeriodSeconds"] - short["terminationGracePeriodSeconds"] == 90


def test_two_operators_never_run_side_by_side_in_an_upgrade(chart: Rendered) -> None:
    """Two versions could undo each other's work."""
    assert chart.one("Deployment", "operator")["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("sets", "component"),
    [
        (("webhook.autoscaling.enabled=true",), "webhook"),
        (("worker.autoscaling.kind=hpa",), "worker"),
        (("worker.autoscaling.kind=keda",), "worker"),
    ],
)
def test_what_is_scaled_by_others_has_no_number_of_replicas(helm: None, sets: tuple[str, ...], component: str) -> None:
    """Each upgrade would else throw the autoscaler's decision away."""
    assert "replicas" not in render("trial", sets).one("Deployment", component)["spec"]
    assert "replicas" in render("trial").one("Deployment", component)["spec"]


def test_workers_scale_on_the_age_of_the_oldest_event(helm: None, production: Rendered) -> None:
    """CPU says nothing about work that waits for Meta."""
    trigger = production.one("ScaledObject", "worker")["spec"]["triggers"][0]
    metric = render("namespaced").one("HorizontalPodAutoscaler", "worker")["spec"]["metrics"][0]

    assert "waypost_oldest_waiting_seconds" in trigger["metadata"]["query"]
    assert metric["external"]["metric"]["name"] == "waypost_oldest_waiting_seconds"


def test_workers_are_never_scaled_to_nothing(production: Rendered) -> None:
    """Somebody must run the sweeper."""
    assert production.one("ScaledObject", "worker")["spec"]["minReplicaCount"] >= 1


def test_a_drained_node_leaves_a_webhook(production: Rendered) -> None:
    """And pods that are not ready do not stop the drain."""
    budget = production.one("PodDisruptionBudget", "webhook")["spec"]

    assert budget["minAvailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_single_pod_does_not_stop_a_node_from_being_drained(trial: Rendered) -> None:
    """A budget over one pod would never let it go."""
    assert trial.all("PodDisruptionBudget") == []


def test_pods_spread_within_their_revision(production: Rendered) -> None:
    """Old pods must not push all new ones onto one node during a rollout."""
    for component in ("webhook", "worker"):
        for constraint in production.pod(component)["topologySpreadConstraints"]:
            assert constraint["matchLabelKeys"] == ["pod-template-hash"]


def test_readiness_and_liveness_ask_different_questions(chart: Rendered) -> None:
    """A database that is away takes a pod out of the Service; it must not have the pod killed."""
    for component in ("webhook", "worker", "operator", "console"):
        container = chart.pod(component)["containers"][0]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_the_schema_is_migrated_before_the_release(production: Rendered) -> None:
    """Pods of the new version find their tables."""
    annotations = production.one("Job", "migrate")["metadata"]["annotations"]

    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_what_the_first_migration_needs_is_there_before_the_release(helm: None) -> None:
    """An address given inline is in a Secret of the release, which comes after the hook: the hook has its own."""
    chart = render("namespaced")
    job = chart.one("Job", "migrate")["spec"]["template"]["spec"]["containers"][0]
    database = next(each for each in job["env"] if each["name"] == "WAYPOST_DATABASE_URL")
    secret = chart.one("Secret", "migrate")

    assert database["valueFrom"]["secretKeyRef"]["name"] == secret["metadata"]["name"]
    assert secret["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(secret["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    assert chart.one("Job", "migrate")["spec"]["template"]["spec"]["serviceAccountName"] == "default"


def test_an_embedded_database_is_migrated_once_it_runs(trial: Rendered) -> None:
    """As a hook the Job would wait for a server that comes only after it."""
    jobs = [each for each in trial.all("Job") if "migrate" in each["metadata"]["name"]]

    assert len(jobs) == 1
    assert "annotations" not in jobs[0]["metadata"]
    assert jobs[0]["spec"]["backoffLimit"] > 6


def test_a_job_that_changed_has_another_name(helm: None) -> None:
    """Kubernetes refuses a change of a Job, and with it the whole upgrade."""
    names = [
        [job["metadata"]["name"] for job in render("trial", (f"image.tag={tag}",)).all("Job")] for tag in ("one", "two")
    ]

    assert names[0] != names[1]


def test_the_operators_image_may_change_without_touching_cronjobs(production: Rendered) -> None:
    """The image of schedules is a setting of its own."""
    operator = production.pod("operator")["containers"][0]
    job_image = production.environment("operator")["WAYPOST_JOB_IMAGE"]["value"]

    assert operator["image"].endswith("0123456789abcdef")
    assert job_image == "registry.example.com/platform/waypost:0.1.0"


def test_removing_the_release_keeps_the_kinds(production: Rendered) -> None:
    """Deleting a CRD deletes every number and schedule with it."""
    for crd in production.all("CustomResourceDefinition"):
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
