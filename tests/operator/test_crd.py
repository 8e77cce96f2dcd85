"""The generated files match the models, and the models make the same checks as the API server."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from waypost.operator.api import crd, generate
from waypost.operator.api.number_models import NumberSpec, NumberStatus
from waypost.operator.api.schedule_models import ScheduleSpec, ScheduleStatus
from waypost.schedule.audience import from_contacts

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(generate.files(), key=str), ids=str)
def test_a_generated_file_matches_the_models(path: Path) -> None:
    """The generated files are up to date, so `make generate` was run after the last change of the models."""
    assert (ROOT / path).read_text(encoding="utf-8") == generate.files()[path]


def _nodes(schema: dict[str, Any], at: str) -> list[tuple[str, dict[str, Any]]]:
    found = [(at, schema)]
    for name, inner in schema.get("properties", {}).items():
        found += _nodes(inner, f"{at}.{name}")
    if "items" in schema:
        found += _nodes(schema["items"], f"{at}[]")
    return found


SPECS = [*_nodes(crd.structural(NumberSpec), "number"), *_nodes(crd.structural(ScheduleSpec), "schedule")]
STATUSES = [*_nodes(crd.structural(NumberStatus), "number"), *_nodes(crd.structural(ScheduleStatus), "schedule")]


@pytest.mark.parametrize(("at", "schema"), [*SPECS, *STATUSES], ids=lambda each: each if isinstance(each, str) else "")
def test_every_field_has_a_bound(at: str, schema: dict[str, Any]) -> None:
    """Strings and lists have a maximum length, since etcd and CEL have size limits."""
    assert schema["type"] in {"object", "array", "string", "integer", "boolean"}
    if schema["type"] == "string":
        assert "maxLength" in schema or "enum" in schema
    if schema["type"] == "array":
        assert "maxItems" in schema


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: kind.kind)
def test_no_status_field_has_a_default(kind: crd.Kind) -> None:
    """No status field has a default.

    The API server would fill the default in, so each reconcile would find a status that differs from what it wrote.
    """
    schema = crd.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert [at for at, each in _nodes(schema, "status") if "default" in each] == []


NUMBER = {"phoneNumberId": "106540352242922", "wabaId": "102290129340398", "credentialsRef": {"name": "meta"}}
SCHEDULE = {
    "numberRef": {"name": "support"},
    "schedule": "0 9 * * 1",
    "timeZone": "Europe/Rome",
    "action": {"tokenCheck": {}},
}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (NumberSpec, NUMBER | {"credentialsRef": {"name": "meta", "namespace": "other"}}),
        (NumberSpec, NUMBER | {"phoneNumberId": 106540352242922}),
        (NumberSpec, NUMBER | {"bot": {}}),
        (NumberSpec, NUMBER | {"bot": {"plugin": "os.system"}}),
        (NumberSpec, NUMBER | {"accessToken": "EAA"}),
        *(
            (NumberSpec, NUMBER | {"bot": {"plugin": "a.b:c", "onError": on_error}})
            for on_error in (
                {},
                {"reply": " \n"},
                {"reply": "a\0b"},
                {"reply": "x" * 1025},
                {"handOff": False},
                {"reply": "x", "handOffMinutes": 5},
                {"handOff": True, "handOffMinutes": 0},
                {"handOff": True, "handOffMinutes": 43_201},
            )
        ),
        (ScheduleSpec, SCHEDULE | {"schedule": "TZ=UTC 0 9 * * 1"}),
        (ScheduleSpec, SCHEDULE | {"schedule": "@daily"}),
        (ScheduleSpec, SCHEDULE | {"timeZone": "local"}),
        (ScheduleSpec, SCHEDULE | {"action": {}}),
        (ScheduleSpec, SCHEDULE | {"action": {"tokenCheck": {}, "report": {}}}),
        *(
            (ScheduleSpec, SCHEDULE | {"action": {"message": {"text": "x", "audience": {"contacts": [contact]}}}})
            for contact in ("333", "393331234567", "+39 333 1234567", "it.1349", "IT.", "IT.13 49", f"IT.{'1' * 129}")
        ),
    ],
)
def test_the_models_refuse_what_the_schema_refuses(model: type[BaseModel], spec: dict[str, Any]) -> None:
    """The models refuse what the schema refuses, because `waypost dev` uses the same files without an API server."""
    with pytest.raises(ValidationError):
        model.model_validate(spec)


@pytest.mark.parametrize(
    "contact", ["+393331234567", "IT.13491208655302741918", "US.ENT.11815799212886844830", f"BR.{'x' * 128}"]
)
def test_a_contact_that_the_schema_accepts_is_accepted_by_the_run(contact: str) -> None:
    """A schedule's run accepts each contact that the schema accepts.

    A contact is a phone number, or the id of a person who does not show their number.
    """
    action = {"message": {"text": "x", "audience": {"contacts": [contact]}}}
    spec = ScheduleSpec.model_validate(SCHEDULE | {"action": action})
    assert spec.action.message is not None
    assert from_contacts(spec.action.message.audience.contacts or ()).skipped == {}


@pytest.mark.parametrize(
    "on_error",
    [
        {"reply": "Sorry,\na colleague will answer."},
        {"handOff": True},
        {"reply": "x", "handOff": True, "handOffMinutes": 60},
    ],
)
def test_the_models_accept_an_answer_a_hand_off_or_both(on_error: dict[str, Any]) -> None:
    """The customer is not left in silence: either is enough."""
    NumberSpec.model_validate(NUMBER | {"bot": {"plugin": "a.b:c", "onError": on_error}})


@pytest.mark.parametrize(("model", "spec"), [(NumberSpec, NUMBER), (ScheduleSpec, SCHEDULE)])
def test_the_models_accept_a_minimal_spec(model: type[BaseModel], spec: dict[str, Any]) -> None:
    """The models accept a minimal spec, because every other field has a default."""
    model.model_validate(spec)
