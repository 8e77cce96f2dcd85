"""Alerts and the dashboard query metrics that exist. Each alert links to a page that says what to do."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import REGISTRY
from sqlalchemy import Engine

from waypost.analytics import gauges
from waypost.telemetry import metrics

from .rendered import CHART, Rendered

ALERTS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
RUNBOOKS = Path(CHART.parents[1] / "docs" / "runbooks")
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
_NAME = re.compile(r"\bwaypost_[a-z_]+")


@pytest.fixture
def exported(database: Engine) -> set[str]:
    """Returns the names of all series that our processes export."""
    assert metrics.build_info is not None
    own = CollectorRegistry()
    gauges.register(database, own)
    text = (generate_latest(REGISTRY) + generate_latest(own)).decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE waypost_")}
    return names | {f"{name}_bucket" for name in names}


def test_alerts_query_metrics_that_exist(exported: set[str]) -> None:
    """Every alert queries a metric that exists. An alert on a metric that is not exported would never fire."""
    for alert in ALERTS:
        names = set(_NAME.findall(alert["expr"]))
        assert names <= exported, alert["alert"]
        assert names or "up{" in alert["expr"], alert["alert"]


def test_the_dashboard_queries_metrics_that_exist(exported: set[str]) -> None:
    """The dashboard queries metrics that exist. A panel without data would look as if nothing was wrong."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            assert set(_NAME.findall(target["expr"])) <= exported, panel["title"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_a_page_that_says_what_to_do(alert: dict[str, str]) -> None:
    """The runbook of each alert has the section *Do*. Each alert has one of the two severities."""
    text = (RUNBOOKS / f"{alert['runbook']}.md").read_text()

    assert "**Do" in text
    assert alert["severity"] in {"critical", "warning"}


def test_every_page_belongs_to_an_alert() -> None:
    """There is no runbook without an alert."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert["runbook"] for alert in ALERTS}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Every file that a runbook links to exists."""
    for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_a_rendered_alert_links_to_its_page(production: Rendered) -> None:
    """The link of a rendered alert begins with `runbookUrl`.

    The expression of the alert selects only the release's namespace.
    """
    rules = production.one("PrometheusRule", "")["spec"]["groups"][0]["rules"]

    assert [rule["alert"] for rule in rules] == [alert["alert"] for alert in ALERTS]
    for rule in rules:
        assert rule["annotations"]["runbook_url"].startswith("https://example.com/runbooks/")
        assert 'namespace="waypost-system"' in rule["expr"]


def test_every_pod_is_scraped_once(production: Rendered) -> None:
    """Prometheus scrapes the console through its Service, and the other components as pods.

    No count is exported twice.
    """
    selector = production.one("PodMonitor", "")["spec"]["selector"]

    assert selector["matchExpressions"][0]["values"] == ["webhook", "worker", "operator"]
    assert production.one("ServiceMonitor", "console")
