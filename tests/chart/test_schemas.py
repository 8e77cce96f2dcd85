"""What `make check-chart` would tell: a misspelt field is found in whatever is rendered, and no kind goes unseen."""

import copy
from pathlib import Path

import pytest
import yaml

from . import schemas
from .check import Failed, conform
from .rendered import CHART, Manifest, Rendered, tool

NUMBER = CHART.parents[1] / "examples" / "number.yaml"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Where the schemas are; skips where there is no kubeconform, and with it none of what it needs."""
    if tool("kubeconform") is None:
        pytest.skip("no kubeconform")
    return (schemas.published(), schemas.ours(tmp_path_factory.mktemp("schemas") / "ours"))


def _number() -> Manifest:
    found = yaml.safe_load_all(NUMBER.read_text())
    return next(each for each in found if each["kind"] == "WhatsAppNumber")


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("Deployment", "spec"),
        ("Deployment", "metadata"),
        ("Deployment", "spec.template.spec.containers.0.securityContext"),
        ("ValidatingAdmissionPolicy", "spec.validations.0"),
        ("CustomResourceDefinition", "spec.versions.0.schema.openAPIV3Schema"),
        ("HTTPRoute", "spec.rules.0"),
        ("Gateway", "spec.listeners.0"),
        ("PodMonitor", "spec"),
        ("ServiceMonitor", "spec.endpoints.0"),
        ("PrometheusRule", "spec.groups.0.rules.0"),
        ("ScaledObject", "spec.triggers.0"),
        ("WhatsAppNumber", "spec.webhook"),
        ("WhatsAppNumber", "metadata"),
    ],
)
def test_a_misspelt_field_is_found(places: tuple[Path, ...], production: Rendered, kind: str, place: str) -> None:
    """In the kinds of Kubernetes, of others and of our own; and without it the same object is taken."""
    manifest = _number() if kind == "WhatsAppNumber" else production.all(kind)[0]
    wrong = copy.deepcopy(manifest)
    part = wrong
    for step in place.split("."):
        part = part[int(step) if step.isdigit() else step]
    part["replcias"] = 2

    conform(yaml.safe_dump(manifest), places)
    with pytest.raises(Failed, match="replcias"):
        conform(yaml.safe_dump(wrong), places)


def test_a_field_that_is_given_twice_is_found(places: tuple[Path, ...]) -> None:
    """The second would win, and nobody would see the first."""
    with pytest.raises(Failed, match="already set in map"):
        conform("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\ndata: {a: c}\n", places)


def test_a_kind_without_a_schema_is_not_passed_over(places: tuple[Path, ...]) -> None:
    """A new one in the chart must bring its schema."""
    with pytest.raises(Failed, match="could not find schema for Certificate"):
        conform("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {}\n", places)


def test_keys_that_are_listed_are_the_only_ones() -> None:
    """At any depth; where the values are free or unknown fields are kept, they stay so."""
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    kept = {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True}
    inner = {"type": "object", "properties": {"free": free, "kept": kept}}

    made = schemas.closed({"type": "array", "items": inner})["items"]

    assert made["additionalProperties"] is False
    assert made["properties"]["free"] == free
    assert "additionalProperties" not in made["properties"]["kept"]


def test_a_property_called_as_a_keyword_is_a_property() -> None:
    """The schema of schemas has some: `properties`, `items`, `nullable`."""
    made = schemas.closed({"properties": {"properties": {"type": "object"}, "nullable": {"type": "boolean"}}})

    assert made["properties"] == {"properties": {"type": "object"}, "nullable": {"type": "boolean"}}


@pytest.mark.parametrize(
    ("found", "raised"),
    [
        ({"Error": "no route to host"}, schemas.SchemasMissing),
        ({"Error": "verifying module: checksum mismatch"}, schemas.SchemasUnknown),
        ({"Dir": "/nowhere", "Sum": "h1:other"}, schemas.SchemasUnknown),
    ],
)
def test_a_module_that_is_another_one_is_told_from_one_that_is_not_to_be_had(
    found: dict[str, str], raised: type[Exception]
) -> None:
    """Without a network nothing is checked; a module that is not the pinned one is never passed over."""
    with pytest.raises(raised):
        schemas.unpacked("example.com/module@v1.0.0", found, "h1:pinned")
