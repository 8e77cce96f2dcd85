"""What must hold for every pod of the chart, with any values."""

import pytest

from .rendered import VALUES, Manifest, Rendered, render


def _containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_every_pod_is_restricted(chart: Rendered) -> None:
    """A namespace that enforces the Pod Security Standard `restricted` admits each of them."""
    for name, pod in chart.pods():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in _containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


def test_every_pod_has_a_numeric_user(chart: Rendered) -> None:
    """The kubelet cannot check whether a user given by name is root, and refuses the pod."""
    for name, pod in chart.pods():
        assert pod["spec"]["securityContext"]["runAsUser"] > 0, name


def test_no_pod_can_write_to_its_image(chart: Rendered) -> None:
    """An intruder can write to /tmp and to the data volume only."""
    for name, pod in chart.pods():
        assert all(each["securityContext"]["readOnlyRootFilesystem"] is True for each in _containers(pod)), name


def test_only_the_operator_has_a_token_for_the_api_server(chart: Rendered) -> None:
    """The pods that strangers can reach have no credentials for the cluster."""
    holders = {name for name, pod in chart.pods() if pod["spec"]["automountServiceAccountToken"]}

    assert holders == {"Deployment/waypost-operator"}


def test_no_service_account_mounts_its_token_by_default(chart: Rendered) -> None:
    """Another pod that uses one of these accounts gets no token either."""
    assert all(each["automountServiceAccountToken"] is False for each in chart.all("ServiceAccount"))


def test_no_pod_gets_service_links(chart: Rendered) -> None:
    """Kubernetes would add variables such as WAYPOST_WEBHOOK_PORT=tcp://…, which are settings of Waypost."""
    for name, pod in chart.pods():
        assert pod["spec"]["enableServiceLinks"] is False, name


def test_every_container_has_requests_and_a_memory_limit(chart: Rendered) -> None:
    """A container that needs too much memory is killed itself, instead of its neighbours."""
    for name, pod in chart.pods():
        for container in _containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert "memory" in resources["limits"], name


def test_no_variable_is_given_twice(chart: Rendered) -> None:
    """Server-side apply, which Helm 4 uses, refuses a pod with a name that occurs twice."""
    for name, pod in chart.pods():
        for container in _containers(pod):
            variables = [each["name"] for each in container["env"]]
            assert len(variables) == len(set(variables)), name


def test_extra_variables_replace_those_of_the_same_name(helm: None) -> None:
    """The log level that the values set for all pods occurs once, with that value."""
    assert render("namespaced").environment("worker")["WAYPOST_LOG_LEVEL"]["value"] == "DEBUG"


def test_variables_of_a_component_win_over_those_of_all(helm: None) -> None:
    """The worker has its own log level, and the webhook the general one."""
    chart = render("namespaced", ("worker.extraEnv[0].name=WAYPOST_LOG_LEVEL", "worker.extraEnv[0].value=ERROR"))

    assert chart.environment("worker")["WAYPOST_LOG_LEVEL"]["value"] == "ERROR"
    assert chart.environment("webhook")["WAYPOST_LOG_LEVEL"]["value"] == "DEBUG"


def test_no_secret_is_written_into_a_pod(chart: Rendered) -> None:
    """Addresses with passwords refer to Secrets by name."""
    for name, pod in chart.pods():
        for container in _containers(pod):
            for variable in container["env"]:
                if variable["name"].endswith(("_DATABASE_URL", "_REDIS_URL", "PASSWORD", "_HEADERS")):
                    assert set(variable) == {"name", "valueFrom"}, name


def test_pods_wait_for_a_missing_secret(production: Rendered) -> None:
    """The Secret is not optional, so the kubelet names it and waits, and no container crashes in a loop."""
    for variable in ("WAYPOST_DATABASE_URL", "WAYPOST_REDIS_URL"):
        assert "optional" not in production.environment("webhook")[variable]["valueFrom"]["secretKeyRef"]


@pytest.mark.parametrize("audience", ["webhook", "worker"])
def test_a_service_mounts_its_own_half_of_the_registry(production: Rendered, audience: str) -> None:
    """It mounts all four Secrets of its audience and none of the other, so a webhook never has an access token."""
    volume = next(each for each in production.pod(audience)["volumes"] if each["name"] == "registry")
    names = [each["secret"]["name"] for each in volume["projected"]["sources"]]

    assert [name for name in names if "registry" in name] == [f"waypost-registry-{audience}-{n}" for n in range(4)]


def test_pods_start_before_the_registry_exists(production: Rendered) -> None:
    """There is no such Secret before the first number, so all of them are optional."""
    for audience in ("webhook", "worker"):
        volume = next(each for each in production.pod(audience)["volumes"] if each["name"] == "registry")
        assert all(each["secret"]["optional"] for each in volume["projected"]["sources"])


def test_the_operator_is_not_given_the_database(chart: Rendered) -> None:
    """The operator manages numbers and never reads messages."""
    assert not {"WAYPOST_DATABASE_URL", "WAYPOST_REDIS_URL"} & chart.environment("operator").keys()


def test_only_the_simulator_changes_the_address_of_the_graph_api(production: Rendered, trial: Rendered) -> None:
    """Production uses Meta's address, and a trial that of the simulator."""
    for component in ("worker", "operator"):
        assert production.environment(component)["WAYPOST_GRAPH_URL"]["value"] == "https://graph.facebook.com"
        assert "waypost-simulator" in trial.environment(component)["WAYPOST_GRAPH_URL"]["value"]


def test_with_a_certificate_authority_the_database_is_verified(production: Rendered) -> None:
    """Workers and migrations verify the name and the certificate of the server."""
    for pod in (production.pod("worker"), production.one("Job", "migrate")["spec"]["template"]["spec"]):
        variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        assert variables["PGSSLMODE"] == "verify-full"
        assert variables["PGSSLROOTCERT"] == "/etc/waypost/tls/database/ca.crt"
        assert "/etc/waypost/tls/database" in mounts


@pytest.mark.parametrize("values", VALUES)
def test_pods_restart_when_an_inline_address_changes(helm: None, values: str) -> None:
    """The kubelet does not restart a pod when a Secret changes, so a checksum changes the pod."""
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
