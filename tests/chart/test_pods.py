"""What every pod of the chart must be, whichever values it is made from."""

import pytest

from .rendered import VALUES, Manifest, Rendered, render


def _containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_every_pod_is_restricted(chart: Rendered) -> None:
    """A namespace that enforces the Pod Security Standard `restricted` takes each of them."""
    for name, pod in chart.pods():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in _containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name


def test_every_pod_has_a_numeric_user(chart: Rendered) -> None:
    """kubelet cannot tell whether a user given by name is root, and refuses the pod."""
    for name, pod in chart.pods():
        assert pod["spec"]["securityContext"]["runAsUser"] > 0, name


def test_no_pod_can_write_to_its_image(chart: Rendered) -> None:
    """What breaks into a pod finds nowhere to stay but /tmp and data."""
    for name, pod in chart.pods():
        assert all(each["securityContext"]["readOnlyRootFilesystem"] is True for each in _containers(pod)), name


def test_only_the_operator_has_a_token_of_the_api_server(chart: Rendered) -> None:
    """The pods that strangers reach hold no credentials of the cluster."""
    holders = {name for name, pod in chart.pods() if pod["spec"]["automountServiceAccountToken"]}

    assert holders == {"Deployment/waypost-operator"}


def test_no_service_account_hands_its_token_out_by_itself(chart: Rendered) -> None:
    """A pod made by somebody else with one of these accounts gets nothing either."""
    assert all(each["automountServiceAccountToken"] is False for each in chart.all("ServiceAccount"))


def test_no_pod_learns_of_services_by_its_environment(chart: Rendered) -> None:
    """Kubernetes would add variables such as WAYPOST_WEBHOOK_PORT=tcp://…, which are settings of ours."""
    for name, pod in chart.pods():
        assert pod["spec"]["enableServiceLinks"] is False, name


def test_every_container_has_requests_and_a_memory_limit(chart: Rendered) -> None:
    """One that grows is ended itself, not its neighbours."""
    for name, pod in chart.pods():
        for container in _containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name
            assert "memory" in resources["limits"], name


def test_no_variable_is_given_twice(chart: Rendered) -> None:
    """Server-side apply, by which Helm 4 installs, refuses such a pod."""
    for name, pod in chart.pods():
        for container in _containers(pod):
            variables = [each["name"] for each in container["env"]]
            assert len(variables) == len(set(variables)), name


def test_extra_variables_replace_those_of_the_same_name(helm: None) -> None:
    """The namespaced values set a log level for all; it is there once, and with that value."""
    assert render("namespaced").environment("worker")["WAYPOST_LOG_LEVEL"]["value"] == "DEBUG"


def test_a_component_has_the_last_word_on_its_variables(helm: None) -> None:
    """extraEnv of the worker wins over that of all."""
    chart = render("namespaced", ("worker.extraEnv[0].name=WAYPOST_LOG_LEVEL", "worker.extraEnv[0].value=ERROR"))

    assert chart.environment("worker")["WAYPOST_LOG_LEVEL"]["value"] == "ERROR"
    assert chart.environment("webhook")["WAYPOST_LOG_LEVEL"]["value"] == "DEBUG"


def test_no_secret_stands_in_a_pod(chart: Rendered) -> None:
    """Addresses with passwords come from Secrets, by name."""
    for name, pod in chart.pods():
        for container in _containers(pod):
            for variable in container["env"]:
                if variable["name"].endswith(("_DATABASE_URL", "_REDIS_URL", "PASSWORD", "_HEADERS")):
                    assert set(variable) == {"name", "valueFrom"}, name


def test_a_missing_secret_is_waited_for(production: Rendered) -> None:
    """The connections must exist: kubelet then names the Secret it waits for, and nothing crashes in a loop."""
    for variable in ("WAYPOST_DATABASE_URL", "WAYPOST_REDIS_URL"):
        assert "optional" not in production.environment("webhook")[variable]["valueFrom"]["secretKeyRef"]


@pytest.mark.parametrize("audience", ["webhook", "worker"])
def test_a_service_sees_its_own_half_of_the_registry(production: Rendered, audience: str) -> None:
    """All four Secrets of one audience, none of the other's: a webhook never holds an access token."""
    volume = next(each for each in production.pod(audience)["volumes"] if each["name"] == "registry")
    names = [each["secret"]["name"] for each in volume["projected"]["sources"]]

    assert [name for name in names if "registry" in name] == [f"waypost-registry-{audience}-{n}" for n in range(4)]


def test_the_registry_may_come_later_than_the_pods(production: Rendered) -> None:
    """Before the first number there is no such Secret, and pods must start all the same."""
    for audience in ("webhook", "worker"):
        volume = next(each for each in production.pod(audience)["volumes"] if each["name"] == "registry")
        assert all(each["secret"]["optional"] for each in volume["projected"]["sources"])


def test_the_operator_is_not_given_the_database(chart: Rendered) -> None:
    """It decides about numbers, not about messages."""
    assert not {"WAYPOST_DATABASE_URL", "WAYPOST_REDIS_URL"} & chart.environment("operator").keys()


def test_only_the_simulator_changes_where_the_graph_api_is(production: Rendered, trial: Rendered) -> None:
    """It is off unless asked for; then nobody talks to Meta."""
    for component in ("worker", "operator"):
        assert production.environment(component)["WAYPOST_GRAPH_URL"]["value"] == "https://graph.facebook.com"
        assert "waypost-simulator" in trial.environment(component)["WAYPOST_GRAPH_URL"]["value"]


def test_a_certificate_authority_makes_the_database_be_checked(production: Rendered) -> None:
    """With its CA the server's name and certificate are verified, in migrations too."""
    for pod in (production.pod("worker"), production.one("Job", "migrate")["spec"]["template"]["spec"]):
        variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
        assert variables["PGSSLMODE"] == "verify-full"
        assert variables["PGSSLROOTCERT"] == "/etc/waypost/tls/database/ca.crt"
        assert "/etc/waypost/tls/database" in mounts


@pytest.mark.parametrize("values", VALUES)
def test_pods_start_anew_when_an_inline_address_changes(helm: None, values: str) -> None:
    """kubelet does not restart a pod for a Secret; a checksum does."""
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
