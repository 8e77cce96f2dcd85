"""Each variable that the chart sets is a setting that a process reads."""

import json

import pytest
import yaml

from waypost import __version__
from waypost.dev import files, manifests, simulated_world
from waypost.operator import main as operator
from waypost.operator.api import crd
from waypost.operator.cluster import kubernetes, previous_registry, registry_secrets, registry_shards
from waypost.settings import Settings

from .rendered import CHART, NAMESPACE, Rendered, render


def _settings(chart: Rendered, component: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, variable in chart.environment(component).items():
        if name.startswith("WAYPOST_") and "value" in variable:
            monkeypatch.setenv(name, variable["value"])
    return Settings()


@pytest.mark.parametrize("component", ["webhook", "worker", "operator", "console"])
def test_every_variable_is_a_setting_with_a_good_value(
    chart: Rendered, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every variable is a setting and has a valid value. A variable that no process reads would have no effect."""
    settings = {f"WAYPOST_{name.upper()}" for name in Settings.model_fields}
    variables = {name for name in chart.environment(component) if name.startswith("WAYPOST_")}

    assert variables <= settings
    _settings(chart, component, monkeypatch)


SCHEMA = json.loads((CHART / "values.schema.json").read_text())["properties"]
NUMBERS = [
    (component, name, schema["maximum"])
    for component in ("webhook", "worker")
    for name, schema in SCHEMA[component]["properties"].items()
    if schema.get("type") in {"integer", "number"} and name != "replicas"
]
"""Settings of a process that are numbers, with the largest value that the chart accepts."""


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize(("component", "name", "largest"), NUMBERS)
def test_a_value_reaches_its_process_and_its_bounds_are_the_settings(
    component: str, name: str, largest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number in the values changes its pod. The process accepts the largest number that the schema accepts.

    The test finds numbers that have no effect, and numbers that the schema accepts but the process refuses.
    """
    changed = render("production", sets=(f"{component}.{name}={largest}",))

    assert changed.pod(component) != render("production").pod(component)
    _settings(changed, component, monkeypatch)


def test_the_operator_understands_its_settings(chart: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator can read the settings that the chart gives it, and the JSON for the pods of schedules."""
    options = operator.options(_settings(chart, "operator", monkeypatch))

    assert options.release_namespace == NAMESPACE
    assert options.public_url.startswith("http")
    assert options.webhook_probe_url == f"http://waypost-webhook.{NAMESPACE}.svc:8080"
    assert options.image
    assert options.service_account == "waypost-job"


def test_schedules_get_the_database_by_reference(production: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pods of schedules get the name of the database's Secret, but not its contents. Each variable occurs once."""
    job = operator.options(_settings(production, "operator", monkeypatch)).job
    variables = {each["name"]: each for each in job.environment}

    assert variables["WAYPOST_DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {"name": "waypost-db-app", "key": "uri"}
    assert len(variables) == len(job.environment)
    assert [each["name"] for each in job.volumes] == ["database-ca"]


def test_the_policy_for_schedules_selects_their_pods(production: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NetworkPolicy for schedules selects the pods of schedules.

    The operator sets the labels of these pods, because the chart has no template for them.
    """
    job = operator.options(_settings(production, "operator", monkeypatch)).job
    wanted = production.one("NetworkPolicy", "schedule")["spec"]["podSelector"]["matchLabels"]

    assert wanted.items() <= job.pod_labels.items()


def test_the_operator_finds_the_pods_that_mount_the_registry(production: Rendered) -> None:
    """The operator finds the pods that mount the registry.

    The operator annotates these pods, so that a change of the registry arrives in a second instead of a minute.
    """
    part_of, _, components = kubernetes.DATA_PLANE.partition(",")
    for component in ("webhook", "worker"):
        labels = production.one("Deployment", component)["spec"]["template"]["metadata"]["labels"]
        assert f"app.kubernetes.io/part-of={labels['app.kubernetes.io/part-of']}" == part_of
        assert labels["app.kubernetes.io/component"] in components


def test_the_mounted_secrets_are_those_that_the_operator_writes(production: Rendered) -> None:
    """The services mount all Secrets that the operator may write, in the operator's order.

    If two Secrets have the same key, the later Secret counts. Workers first mount the Secrets of the previous
    version. They mount the bots in a separate volume.
    """
    assert _mounted(production, "webhook") == {"/etc/waypost/registry/webhook": _secrets("webhook")}
    previous = [previous_registry.worker_secret(shard) for shard in range(previous_registry.SECRETS)]
    assert _mounted(production, "worker") == {
        "/etc/waypost/registry/worker": previous + _secrets("number"),
        "/etc/waypost/registry/bot": _secrets("bot"),
    }


def test_the_secrets_of_the_registry_are_optional(production: Rendered) -> None:
    """The services mount all Secrets of the registry as optional.

    Most of these Secrets do not exist, and a pod must start nevertheless.
    """
    for component in ("webhook", "worker"):
        for volume in production.pod(component)["volumes"]:
            for source in volume.get("projected", {}).get("sources", ()):
                assert source["secret"]["optional"] is True


def _secrets(content: registry_shards.Content) -> list[str]:
    return [registry_shards.secret_name(content, shard) for shard in range(registry_secrets.SHARDS)]


def _mounted(production: Rendered, component: str) -> dict[str, list[str]]:
    """Returns by folder the Secrets that a component mounts, as far as the operator writes them."""
    pod = production.pod(component)
    folders = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    return {
        folders[volume["name"]]: [
            source["secret"]["name"]
            for source in volume["projected"]["sources"]
            if source["secret"]["name"].startswith("waypost-registry-")
        ]
        for volume in pod["volumes"]
        if "projected" in volume
    }


def test_the_simulated_meta_of_a_trial_has_what_the_examples_need() -> None:
    """After an install with the values of a trial, `kubectl apply -f examples/` makes a number that works."""
    declared = manifests.load(files.yaml_files([CHART.parents[1] / "examples"]))
    values = yaml.safe_load((CHART / "ci" / "trial-values.yaml").read_text())

    assert values["simulator"]["world"] == simulated_world.seed(declared.numbers, declared.schedules)


def test_the_chart_installs_the_version_of_this_repository() -> None:
    """The chart installs the version of this repository.

    The chart's own version may be higher, because the chart can change without the image.
    """
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    own, installed = ([int(part) for part in chart[name].split(".")] for name in ("version", "appVersion"))

    assert chart["appVersion"] == __version__
    assert own >= installed


def test_the_chart_installs_all_kinds(production: Rendered) -> None:
    """The chart renders all our CRDs unchanged. It only adds the annotation that keeps them after an uninstall."""
    for kind in crd.KINDS:
        rendered = next(
            each for each in production.all("CustomResourceDefinition") if each["spec"]["names"]["kind"] == kind.kind
        )
        rendered = json.loads(json.dumps(rendered))
        assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert rendered == crd.crd(kind)
