"""Upgrades, evictions and scaling lose no deliveries and no messages."""

from waypost.lanes.job import JOB_TIMEOUT_S
from waypost.settings import Settings
from waypost.webhook.server import LAST_ANSWERS_S

from .rendered import Rendered, render

GRAPH_TIMEOUT_S = Settings.model_fields["graph_timeout_s"].default


def test_a_webhook_outlives_its_place_in_the_service(chart: Rendered) -> None:
    """A webhook still answers after it has left the Service, because proxies still send to it.

    After that, the webhook has its full time for the deliveries in flight.
    """
    pod = chart.pod("webhook")
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    drain_s = float(environment["WAYPOST_DRAIN_S"])

    assert drain_s >= 5
    assert pod["terminationGracePeriodSeconds"] >= drain_s + LAST_ANSWERS_S + 5


def test_a_worker_may_finish_its_longest_job(chart: Rendered) -> None:
    """A worker's pod gets enough time to finish a drain and the last Graph call before it is killed.

    The grace period is longer than RQ's deadline of a drain and the deadline of a Graph call together.
    """
    assert chart.pod("worker")["terminationGracePeriodSeconds"] > JOB_TIMEOUT_S + GRAPH_TIMEOUT_S + 5


def test_a_longer_graph_deadline_lengthens_the_grace_period(helm: None) -> None:
    """If the deadline of a Graph call grows, the grace period grows by as many seconds."""
    short, long = (render("trial", (f"worker.graphTimeoutSeconds={n}",)).pod("worker") for n in (30, 120))

    assert long["terminationGracePeriodSeconds"] - short["terminationGracePeriodSeconds"] == 90


def test_readiness_and_liveness_ask_different_questions(chart: Rendered) -> None:
    """Readiness and liveness have different probes.

    If the database is unavailable, a pod is taken out of the Service, but it must not be killed.
    """
    for component in ("webhook", "worker", "operator", "console"):
        container = chart.pod(component)["containers"][0]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_a_changed_job_has_another_name(helm: None) -> None:
    """A changed Job gets another name.

    Kubernetes refuses a changed Job of the same name, and the whole upgrade would fail.
    """
    names = [
        [job["metadata"]["name"] for job in render("trial", (f"image.tag={tag}",)).all("Job")] for tag in ("one", "two")
    ]

    assert names[0] != names[1]
