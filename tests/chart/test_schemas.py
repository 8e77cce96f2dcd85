"""`make check-chart` finds a misspelt field in every rendered kind, and refuses a kind without a schema."""

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
    """Returns the folders with schemas. Skips the test if there is no kubeconform."""
    if tool("kubeconform") is None:
        pytest.skip("no kubeconform")
    return (schemas.published(), schemas.ours(tmp_path_factory.mktemp("schemas") / "ours"))


def _part(manifest: Manifest, place: str) -> Manifest:
    node: object = manifest
    for step in place.split("."):
        if isinstance(node, list):
            node = node[int(step)]
        else:
            assert isinstance(node, dict)
            node = node[step]
    assert isinstance(node, dict)
    return node


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
    """A misspelt field is found in Kubernetes' own kinds, in kinds of other projects and in our own kinds.

    The same object without the mistake is accepted.
    """
    manifest = _number() if kind == "WhatsAppNumber" else production.all(kind)[0]
    wrong = copy.deepcopy(manifest)
    _part(wrong, place)["replcias"] = 2

    conform(yaml.safe_dump(manifest), places)
    with pytest.raises(Failed, match="replcias"):
        conform(yaml.safe_dump(wrong), places)


def test_a_duplicate_field_is_found(places: tuple[Path, ...]) -> None:
    """A duplicate field is refused. Otherwise, the second value would silently replace the first value."""
    with pytest.raises(Failed, match="already set in map"):
        conform("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\ndata: {a: c}\n", places)


def test_a_kind_without_a_schema_is_refused(places: tuple[Path, ...]) -> None:
    """A kind without a schema is refused. If the chart gets a new kind, a schema must be added for this kind."""
    with pytest.raises(Failed, match="could not find schema for Certificate"):
        conform("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {}\n", places)


def test_unlisted_keys_are_refused() -> None:
    """Unlisted keys are refused at any depth.

    They are allowed where the schema allows any key or preserves unknown fields.
    """
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    preserved = {"type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": True}
    inner = {"type": "object", "properties": {"free": free, "preserved": preserved}}

    made = schemas.closed({"type": "array", "items": inner})["items"]

    assert made["additionalProperties"] is False
    assert made["properties"]["free"] == free
    assert "additionalProperties" not in made["properties"]["preserved"]


def test_a_property_named_like_a_keyword_is_a_property() -> None:
    """A property that has the name of a keyword of JSON Schema is treated as a property.

    The schema for schemas has properties with the names `properties`, `items` and `nullable`.
    """
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
def test_a_wrong_module_is_distinguished_from_an_unavailable_one(
    found: dict[str, str], raised: type[Exception]
) -> None:
    """A module that is unavailable raises another error than a module with the wrong checksum.

    Without a network nothing is checked. A module other than the pinned one is always an error.
    """
    with pytest.raises(raised):
        schemas.unpacked("example.com/module@v1.0.0", found, "h1:pinned")
