"""Alerts and dashboard ask for metrics that exist, and each alert leads to a page that says what to do."""

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
    """Names of all series that our processes export."""
    assert metrics.build_info is not None
    own = CollectorRegistry()
    gauges.register(database, own)
    text = (generate_latest(REGISTRY) + generate_latest(own)).decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE waypost_")}
    return names | {f"{name}_bucket" for name in names}


def test_alerts_ask_for_metrics_that_exist(exported: set[str]) -> None:
    """One on a name that nobody exports is never raised."""
    for alert in ALERTS:
        names = set(_NAME.findall(alert["expr"]))
        assert names <= exported, alert["alert"]
        assert names or "up{" in alert["expr"], alert["alert"]


def test_the_dashboard_asks_for_metrics_that_exist(exported: set[str]) -> None:
    """An empty panel looks like good news."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            assert set(_NAME.findall(target["expr"])) <= exported, panel["title"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_leads_to_a_page_that_says_what_to_do(alert: dict[str, str]) -> None:
    """Somebody reads it at night."""
    text = (RUNBOOKS / f"{alert['runbook']}.md").read_text()

    assert "**Do" in text
    assert alert["severity"] in {"critical", "warning"}


def test_no_page_is_left_over() -> None:
    """Each belongs to an alert."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert["runbook"] for alert in ALERTS}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """From one cause to the next."""
    for target in re.findall(r"\]\(([^)#:]+\.md)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_a_rendered_alert_links_to_its_page(production: Rendered) -> None:
    """Under the address where the pages can be read, for this release's namespace only."""
    rules = production.one("PrometheusRule", "")["spec"]["groups"][0]["rules"]

    assert [rule["alert"] for rule in rules] == [alert["alert"] for alert in ALERTS]
    for rule in rules:
        assert rule["annotations"]["runbook_url"].startswith("https://example.com/runbooks/")
        assert 'namespace="waypost-system"' in rule["expr"]


def test_every_pod_is_scraped_once(production: Rendered) -> None:
    """The console by its Service, all others as pods: counts of the whole installation must not be there twice."""
    selector = production.one("PodMonitor", "")["spec"]["selector"]

    assert selector["matchExpressions"][0]["values"] == ["webhook", "worker", "operator"]
    assert production.one("ServiceMonitor", "console")
