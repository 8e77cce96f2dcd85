"""`kubectl explain` reads like documentation. The schemas that the API server publishes explain every field."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from waypost.operator.api.crd import KINDS, Kind
from waypost.operator.api.number_models import API_VERSION

from ..untyped import untyped
from .conftest import until

pytestmark = pytest.mark.cluster

ENOUGH_WORDS = 4
SENTENCES = re.compile(r"[`A-Z].*[.]")
PYTHON = re.compile(r"\b(None|str|bool|dict|list of dict|Optional|Literal)\b|[a-z]+_[a-z]+")
"""Python words and model names, which a user of the API should not see. Template names are written with `_` too."""


def published(api: client.ApiClient) -> dict[str, Any]:
    """Returns the schemas that `kubectl explain` reads, as a mapping from names."""
    request = api.param_serialize("GET", f"/openapi/v3/apis/{API_VERSION}", auth_settings=["BearerToken"])
    answer = api.call_api(*request)
    content = json.loads(untyped(answer).read()) if answer.status == 200 else {}
    found: dict[str, Any] = content.get("components", {}).get("schemas", {})
    return found


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Yields the path and the description of each field."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field.get("description", "")
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_each_field_is_explained_in_a_sentence(api: client.ApiClient, kind: Kind) -> None:
    """Each field of spec and status is explained in sentences. They use words of the API, not of the program."""
    name = f"dev.waypost.v1alpha1.{kind.kind}"
    until(lambda: name in published(api))
    schema = published(api)[name]
    explained = dict(fields({"properties": {part: schema["properties"][part] for part in ("spec", "status")}}, ""))
    assert len(explained) > 30
    unexplained = {
        path: text
        for path, text in explained.items()
        if not SENTENCES.fullmatch(text) or len(text.split()) < ENOUGH_WORDS or PYTHON.search(text)
    }
    assert unexplained == {}


def test_descriptions_include_defaults_bounds_and_rules(api: client.ApiClient) -> None:
    """Descriptions include defaults, bounds and rules.

    `kubectl explain` shows only the description of a field, and not its defaults, bounds or rules.
    """
    until(lambda: "dev.waypost.v1alpha1.BotSchedule" in published(api))
    spec = published(api)["dev.waypost.v1alpha1.BotSchedule"]["properties"]["spec"]["properties"]
    message = spec["action"]["properties"]["message"]["properties"]
    assert spec["startingDeadlineSeconds"]["description"].endswith("From 10 to 86400. Defaults to `300`.")
    assert "Give exactly one of contacts, selector and configMapRef." in message["audience"]["description"]
    assert "Each must be a phone number in E.164" in message["audience"]["properties"]["contacts"]["description"]
