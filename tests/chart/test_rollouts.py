"""That upgrades, drains and scaling lose nothing."""

from waypost.lanes.job import JOB_TIMEOUT_S
from waypost.settings import Settings
from waypost.webhook.server import LAST_ANSWERS_S

from .rendered import Rendered, render

GRAPH_TIMEOUT_S = Settings.model_fields["graph_timeout_s"].default


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


def test_readiness_and_liveness_ask_different_questions(chart: Rendered) -> None:
    """A database that is away takes a pod out of the Service; it must not have the pod killed."""
    for component in ("webhook", "worker", "operator", "console"):
        container = chart.pod(component)["containers"][0]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_a_job_that_changed_has_another_name(helm: None) -> None:
    """Kubernetes refuses a change of a Job, and with it the whole upgrade."""
    names = [
        [job["metadata"]["name"] for job in render("trial", (f"image.tag={tag}",)).all("Job")] for tag in ("one", "two")
    ]

    assert names[0] != names[1]
