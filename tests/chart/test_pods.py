"""Rules that hold for every pod of the chart, with any values."""

import re

import pytest

from .rendered import VALUES, Manifest, Rendered, render


def _containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_every_pod_is_restricted(chart: Rendered) -> None:
    """A namespace that enforces the Pod Security Standard `restricted` admits every pod of the chart."""
    for name, pod in chart.pods():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in _containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


def test_every_pod_has_a_numeric_user(chart: Rendered) -> None:
    """Every pod has a numeric user.

    If the user is given by name, the kubelet cannot check whether the user is root. It refuses such a pod.
    """
    for name, pod in chart.pods():
        assert pod["spec"]["securityContext"]["runAsUser"] > 0, name


def test_no_pod_can_write_to_its_image(chart: Rendered) -> None:
    """No pod can write to its image. An intruder can write only to /tmp and to the data volume."""
    for name, pod in chart.pods():
        assert all(each["securityContext"]["readOnlyRootFilesystem"] is True for each in _containers(pod)), name


@pytest.mark.fault("X7")
def test_only_the_operator_has_a_token_for_the_api_server(chart: Rendered) -> None:
    """Only the operator has a token for the API server.

    The pods that strangers can reach have no credentials for the cluster.
    """
    holders = {name for name, pod in chart.pods() if pod["spec"]["automountServiceAccountToken"]}

    assert holders == {"Deployment/waypost-operator"}


def test_no_service_account_mounts_its_token_by_default(chart: Rendered) -> None:
    """No service account mounts its token by default.

    Another pod that uses one of these accounts gets no token either.
    """
    assert all(each["automountServiceAccountToken"] is False for each in chart.all("ServiceAccount"))


def test_no_pod_gets_service_links(chart: Rendered) -> None:
    """No pod gets the variables that Kubernetes adds for Services.

    A variable such as WAYPOST_WEBHOOK_PORT=tcp://… would be read as a setting of Waypost.
    """
    for name, pod in chart.pods():
        assert pod["spec"]["enableServiceLinks"] is False, name


def test_every_container_has_requests_and_a_memory_limit(chart: Rendered) -> None:
    """Every container has resource requests and a memory limit.

    If a container needs too much memory, the kernel kills this container and not another one.
    """
    for name, pod in chart.pods():
        for container in _containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert "memory" in resources["limits"], name


def test_no_variable_is_given_twice(chart: Rendered) -> None:
    """No container has two variables with the same name.

    Server-side apply, which Helm 4 uses, refuses a pod with such variables.
    """
    for name, pod in chart.pods():
        for container in _containers(pod):
            variables = [each["name"] for each in container["env"]]
            assert len(variables) == len(set(variables)), name


def test_extra_variables_replace_those_of_the_same_name(helm: None) -> None:
    """An extra variable replaces the chart's variable of the same name. In this test, it is the log level."""
    assert render("namespaced").environment("worker")["WAYPOST_LOG_LEVEL"]["value"] == "DEBUG"


def test_variables_of_a_component_win_over_those_of_all(helm: None) -> None:
    """A component's own variable has priority over the variable for all pods.

    The worker has its own log level, and the webhook has the general log level.
    """
    chart = render("namespaced", ("worker.extraEnv[0].name=WAYPOST_LOG_LEVEL", "worker.extraEnv[0].value=ERROR"))

    assert chart.environment("worker")["WAYPOST_LOG_LEVEL"]["value"] == "ERROR"
    assert chart.environment("webhook")["WAYPOST_LOG_LEVEL"]["value"] == "DEBUG"


def test_no_secret_is_written_into_a_pod(chart: Rendered) -> None:
    """No address with a password is written into a pod. The pod refers to a Secret by name."""
    for name, pod in chart.pods():
        for container in _containers(pod):
            for variable in container["env"]:
                if variable["name"].endswith(("_DATABASE_URL", "_REDIS_URL", "PASSWORD", "_HEADERS")):
                    assert set(variable) == {"name", "valueFrom"}, name


def test_pods_wait_for_a_missing_secret(production: Rendered) -> None:
    """A pod waits while its Secret is missing.

    The Secret is not optional, so the kubelet waits and names the Secret. No container crashes in a loop.
    """
    for variable in ("WAYPOST_DATABASE_URL", "WAYPOST_REDIS_URL"):
        assert "optional" not in production.environment("webhook")[variable]["valueFrom"]["secretKeyRef"]


@pytest.mark.parametrize(("component", "contents"), [("webhook", {"webhook"}), ("worker", {"number", "bot", "worker"})])
def test_a_service_mounts_its_own_half_of_the_registry(
    production: Rendered, component: str, contents: set[str]
) -> None:
    """A service mounts no Secret of the registry that is for another service.

    A webhook therefore never has an access token, and a worker never has an app secret.
    """
    names = re.findall(r"waypost-registry-([a-z]+)-[0-9]+", str(production.pod(component)["volumes"]))

    assert set(names) == contents


def test_pods_start_before_the_registry_exists(production: Rendered) -> None:
    """Pods start before the registry exists.

    The registry has no Secrets before the first number is created. The pods therefore mount these Secrets as
    optional.
    """
    for audience in ("webhook", "worker"):
        volume = next(each for each in production.pod(audience)["volumes"] if each["name"] == "registry")
        assert all(each["secret"]["optional"] for each in volume["projected"]["sources"])


def test_the_operator_is_not_given_the_database(chart: Rendered) -> None:
    """The operator gets no address of the database. The operator manages numbers and never reads messages."""
    assert not {"WAYPOST_DATABASE_URL", "WAYPOST_REDIS_URL"} & chart.environment("operator").keys()


def test_only_the_simulator_changes_the_address_of_the_graph_api(production: Rendered, trial: Rendered) -> None:
    """Production uses Meta's address of the Graph API. A trial uses the simulator's address."""
    for component in ("worker", "operator"):
        assert production.environment(component)["WAYPOST_GRAPH_URL"]["value"] == "https://graph.facebook.com"
        assert "waypost-simulator" in trial.environment(component)["WAYPOST_GRAPH_URL"]["value"]


def test_with_a_certificate_authority_the_database_is_verified(production: Rendered) -> None:
    """If the values name a certificate authority, workers and migrations verify the database server.

    They verify the name and the certificate of the server.
    """
    for pod in (production.pod("worker"), production.one("Job", "migrate")["spec"]["template"]["spec"]):
        variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        assert variables["PGSSLMODE"] == "verify-full"
        assert variables["PGSSLROOTCERT"] == "/etc/waypost/tls/database/ca.crt"
        assert "/etc/waypost/tls/database" in mounts


@pytest.mark.parametrize("values", VALUES)
def test_pods_restart_when_an_inline_address_changes(helm: None, values: str) -> None:
    """Pods restart when an address that is written in the values changes.

    The kubelet does not restart a pod when a Secret changes. The pod therefore has a checksum of the address in
    its annotations.
    """
    if values == "production":
        assert all("annotations" not in pod["metadata"] for name, pod in render(values).pods() if "worker" in name)
        return
    address = {"trial": "database.embedded.password=another-password", "namespaced": "database.url=postgresql://b/c"}
    before, after = render(values), render(values, (address[values],))
    for component in ("webhook", "worker", "console"):
        sums = [
            chart.one("Deployment", component)["spec"]["template"]["metadata"]["annotations"]
            for chart in (before, after)
        ]
        assert sums[0] != sums[1], component
