"""Who may talk to whom, read from the NetworkPolicies."""

from collections.abc import Iterator

import pytest

from .rendered import Manifest, Rendered, render

Talk = tuple[str, int]


def _policy(chart: Rendered, component: str) -> Manifest:
    spec: Manifest = chart.one("NetworkPolicy", component)["spec"]
    return spec


def _peers(rule: Manifest, side: str) -> Iterator[str]:
    for peer in rule.get(side, [{}]):
        if "podSelector" in peer:
            labels = peer["podSelector"]["matchLabels"]
            yield labels.get("app.kubernetes.io/component", "selected pods")
        elif "namespaceSelector" in peer:
            yield "selected namespaces"
        else:
            yield "the internet" if "ipBlock" in peer else "anyone"


def _talks(chart: Rendered, component: str, direction: str) -> set[Talk]:
    side = {"egress": "to", "ingress": "from"}[direction]
    return {
        (peer, port["port"])
        for rule in _policy(chart, component).get(direction, [])
        for peer in _peers(rule, side)
        for port in rule["ports"]
    }


def test_every_pod_has_a_policy_for_both_ways(chart: Rendered) -> None:
    """A pod that none selects may talk to anybody."""
    selected = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: each["spec"]["policyTypes"]
        for each in chart.all("NetworkPolicy")
    }

    for name, pod in chart.pods():
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        assert selected.get(component) == ["Ingress", "Egress"], name


def test_policies_can_be_left_to_others(helm: None) -> None:
    """Where the platform writes its own."""
    assert render("trial", ("networkPolicy.enabled=false",)).all("NetworkPolicy") == []


def test_the_webhook_reaches_no_more_than_it_needs(trial: Rendered) -> None:
    """It is what strangers talk to: from there one gets to the two stores and to nobody else."""
    assert _talks(trial, "webhook", "egress") == {("selected namespaces", 53), ("postgresql", 5432), ("valkey", 6379)}


def test_the_webhook_is_reached_from_the_gateway_only(production: Rendered) -> None:
    """And from our own operator and test."""
    assert _talks(production, "webhook", "ingress") == {
        ("selected namespaces", 8080),
        ("operator", 8080),
        ("simulator", 8080),
        ("test", 8080),
        ("anyone", 9090),
    }


def test_only_three_reach_meta(production: Rendered) -> None:
    """Worker, operator and schedules; and of the internet only what is not a private network."""
    for component in ("worker", "operator", "schedule"):
        assert ("the internet", 443) in _talks(production, component, "egress"), component
    for component in ("webhook", "console", "migrate", "test"):
        assert "the internet" not in {peer for peer, _ in _talks(production, component, "egress")}, component


def test_the_cloud_s_metadata_service_is_out_of_reach(production: Rendered) -> None:
    """It hands out credentials of the node to whoever asks."""
    blocks = [
        peer["ipBlock"]
        for rule in _policy(production, "worker")["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]

    assert "169.254.0.0/16" in next(each["except"] for each in blocks if each["cidr"] == "0.0.0.0/0")


def test_with_the_simulator_nobody_leaves_the_cluster(trial: Rendered) -> None:
    """A trial with real credentials by mistake must not write to real people."""
    for component in ("webhook", "worker", "console", "simulator", "schedule", "migrate"):
        assert "the internet" not in {peer for peer, _ in _talks(trial, component, "egress")}, component


@pytest.mark.parametrize("component", ["postgresql", "valkey"])
def test_an_embedded_server_talks_to_nobody(trial: Rendered, component: str) -> None:
    """And is reached only by those who use it."""
    allowed = {"webhook", "worker", "console", "migrate", "schedule"}

    assert _talks(trial, component, "egress") == set()
    assert {peer for peer, _ in _talks(trial, component, "ingress")} <= allowed


def test_only_the_operator_reaches_the_api_server(production: Rendered) -> None:
    """By the ports that are given for it."""
    holders = {
        name
        for name in ("webhook", "worker", "operator", "schedule", "console")
        if ("anyone", 6443) in _talks(production, name, "egress")
    }

    assert holders == {"operator"}


def test_the_first_migration_has_its_policy_before_the_release(production: Rendered) -> None:
    """In a namespace that denies by default the hook could else not reach the database."""
    assert production.one("NetworkPolicy", "migrate")["metadata"]["annotations"]["helm.sh/hook"]
