"""The NetworkPolicies allow each pod to talk only to the pods and addresses that it needs."""

from collections.abc import Iterator

import pytest

from waypost.operator.bots.watch import PROBES, WORKERS

from .rendered import Manifest, Rendered, render

Talk = tuple[str, int]


def _policy(chart: Rendered, component: str) -> Manifest:
    spec: Manifest = chart.one("NetworkPolicy", component)["spec"]
    return spec


def _peers(rule: Manifest, key: str) -> Iterator[str]:
    for peer in rule.get(key, [{}]):
        if "podSelector" in peer:
            labels = peer["podSelector"]["matchLabels"]
            yield labels.get("app.kubernetes.io/component", "selected pods")
        elif "namespaceSelector" in peer:
            yield "selected namespaces"
        else:
            yield "the internet" if "ipBlock" in peer else "anyone"


def _talks(chart: Rendered, component: str, direction: str) -> set[Talk]:
    key = {"egress": "to", "ingress": "from"}[direction]
    return {
        (peer, port["port"])
        for rule in _policy(chart, component).get(direction, [])
        for peer in _peers(rule, key)
        for port in rule["ports"]
    }


def test_every_pod_has_a_policy_for_both_directions(chart: Rendered) -> None:
    """Every pod has a NetworkPolicy for both directions. A pod that no policy selects could talk to anything."""
    selected = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: each["spec"]["policyTypes"]
        for each in chart.all("NetworkPolicy")
    }

    for name, pod in chart.pods():
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        assert selected.get(component) == ["Ingress", "Egress"], name


def test_policies_can_be_disabled(helm: None) -> None:
    """The values can disable all NetworkPolicies. A platform can then write its own policies."""
    assert render("trial", ("networkPolicy.enabled=false",)).all("NetworkPolicy") == []


def test_the_webhook_reaches_no_more_than_it_needs(trial: Rendered) -> None:
    """The webhook can reach only DNS and the two stores, because strangers can reach the webhook."""
    assert _talks(trial, "webhook", "egress") == {("selected namespaces", 53), ("postgresql", 5432), ("valkey", 6379)}


def test_only_the_gateway_and_our_pods_reach_the_webhook(production: Rendered) -> None:
    """Only the given namespaces, the operator, the simulator and the test may reach the webhook's port 8080.

    The port with metrics is open to all.
    """
    assert _talks(production, "webhook", "ingress") == {
        ("selected namespaces", 8080),
        ("operator", 8080),
        ("simulator", 8080),
        ("test", 8080),
        ("anyone", 9090),
    }


def test_only_three_components_reach_meta(production: Rendered) -> None:
    """Worker, operator and schedules reach the internet. The other components do not."""
    for component in ("worker", "operator", "schedule"):
        assert ("the internet", 443) in _talks(production, component, "egress"), component
    for component in ("webhook", "console", "migrate", "test"):
        assert "the internet" not in {peer for peer, _ in _talks(production, component, "egress")}, component


def test_the_metadata_service_of_the_cloud_cannot_be_reached(production: Rendered) -> None:
    """The worker cannot reach the metadata service of the cloud.

    This service would give the node's credentials to any pod that asks for them.
    """
    blocks = [
        peer["ipBlock"]
        for rule in _policy(production, "worker")["egress"]
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    ]

    assert "169.254.0.0/16" in next(each["except"] for each in blocks if each["cidr"] == "0.0.0.0/0")


def test_with_the_simulator_no_pod_reaches_the_internet(trial: Rendered) -> None:
    """With the simulator, no pod reaches the internet.

    A trial that has real credentials by mistake must not write to real people.
    """
    for component in ("webhook", "worker", "console", "simulator", "schedule", "migrate"):
        assert "the internet" not in {peer for peer, _ in _talks(trial, component, "egress")}, component


@pytest.mark.parametrize("component", ["postgresql", "valkey"])
def test_an_embedded_server_calls_no_other_pod(trial: Rendered, component: str) -> None:
    """An embedded server reaches no other pod. Only the components that use the server reach it."""
    allowed = {"webhook", "worker", "console", "migrate", "schedule"}

    assert _talks(trial, component, "egress") == set()
    assert {peer for peer, _ in _talks(trial, component, "ingress")} <= allowed


def test_only_the_operator_reaches_the_api_server(production: Rendered) -> None:
    """Only the operator may call the ports of the API server."""
    holders = {
        name
        for name in ("webhook", "worker", "operator", "schedule", "console")
        if ("anyone", 6443) in _talks(production, name, "egress")
    }

    assert holders == {"operator"}


def test_the_operator_reads_the_state_of_bots_from_workers(chart: Rendered) -> None:
    """The operator reaches the probe port of workers, where it reads whether bots answer. It has no database."""
    assert ("worker", 9090) in _talks(chart, "operator", "egress")
    assert ("operator", 9090) in _talks(chart, "worker", "ingress")
    rules = chart.one("Role", "operator")["rules"]
    assert any("pods" in rule["resources"] and "list" in rule["verbs"] for rule in rules)


def test_workers_have_the_labels_and_the_port_by_which_the_operator_finds_them(chart: Rendered) -> None:
    """The operator lists pods by label and takes the port from the pod."""
    template = chart.one("Deployment", "worker")["spec"]["template"]
    assert WORKERS.items() <= template["metadata"]["labels"].items()
    ports = [port for each in template["spec"]["containers"] for port in each["ports"]]
    assert {"name": PROBES, "containerPort": 9090} in [
        {key: port[key] for key in ("name", "containerPort")} for port in ports
    ]


def test_the_migration_has_its_policy_before_the_release(production: Rendered) -> None:
    """The migration's NetworkPolicy is created before the release.

    Otherwise, the migration could not reach the database in a namespace that denies traffic by default.
    """
    assert production.one("NetworkPolicy", "migrate")["metadata"]["annotations"]["helm.sh/hook"]
