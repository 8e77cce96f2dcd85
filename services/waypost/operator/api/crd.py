"""The CRDs of both kinds, built from the models. `generate.py` writes them to files.

A structural schema is derived from pydantic's schema. References are resolved, and `null` and titles are
dropped. A pattern that has a message becomes a rule, because the API server shows a rule's message. For a
pattern, it would show only the pattern itself.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from waypost.contracts.condition_types import ConditionType
from waypost.contracts.fields import FORM, IMMUTABLE, rule
from waypost.operator.api.number_models import GROUP, VERSION, NumberSpec, NumberStatus
from waypost.operator.api.schedule_models import ScheduleSpec, ScheduleStatus

Schema = dict[str, Any]

HEADER = "# Generated from services/waypost/operator/api by `make generate`. Do not edit.\n"

_NAME_RULE = rule(
    "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
    "metadata.name must be small letters, digits and '-', at most 63 characters, without dots",
)


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`. If `wide` is set, the column is shown only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False

    def written(self) -> Schema:
        """Returns the column as the CRD declares it."""
        found: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            found["description"] = self.description
        if self.wide:
            found["priority"] = 1
        return found


@dataclass(frozen=True)
class Kind:
    """One kind of the API group."""

    kind: str
    plural: str
    short: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the CRD's file."""
        return f"{GROUP}_{self.plural}.yaml"


def _condition(type_: ConditionType, what: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{what}'


KINDS = (
    Kind(
        "WhatsAppNumber",
        "whatsappnumbers",
        "wan",
        "A WhatsApp Business number: registered at Meta, its callback kept in place, answered by a bot.",
        NumberSpec,
        NumberStatus,
        (
            Column("Ready", _condition(ConditionType.READY, "status"), description="Whether the number is as desired."),
            Column("Reason", _condition(ConditionType.READY, "reason")),
            Column("Phone", ".status.phone.ending", description="Last two digits."),
            Column("Quality", ".status.phone.quality"),
            Column("Webhook", _condition(ConditionType.WEBHOOK_VERIFIED, "status")),
            Column("Token until", ".status.token.expiresAt", "date", wide=True),
            Column("Connection", ".status.phone.connection", wide=True),
            Column("Limit", ".status.phone.messagingLimit", wide=True),
            Column("Message", _condition(ConditionType.READY, "message"), wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        (".spec.phoneNumberId", ".spec.wabaId", ".spec.credentialsRef.name"),
    ),
    Kind(
        "BotSchedule",
        "botschedules",
        "bs",
        "Something a number does at planned times: a message to an audience, a report, a check.",
        ScheduleSpec,
        ScheduleStatus,
        (
            Column("Number", ".spec.numberRef.name"),
            Column("Schedule", ".spec.schedule"),
            Column("Zone", ".spec.timeZone"),
            Column("Suspend", ".spec.suspend", "boolean"),
            Column("Last", ".status.lastRun.plannedAt", "date"),
            Column("Next", ".status.nextRunAt"),
            Column("Ready", _condition(ConditionType.READY, "status")),
            Column("Reason", _condition(ConditionType.READY, "reason"), wide=True),
            Column("Sent", ".status.lastRun.sent", "integer", wide=True),
            Column("Failed", ".status.lastRun.failed", "integer", wide=True),
            Column("Message", _condition(ConditionType.READY, "message"), wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        (".spec.numberRef.name",),
    ),
)


def crd(kind: Kind) -> Schema:
    """Returns the CustomResourceDefinition of a kind."""
    schema: Schema = {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _explained(structural(kind.spec)),
            # Without defaults: the API server would fill them in, and each status would differ from what was written.
            "status": _without_defaults(structural(kind.status)),
        },
        "x-kubernetes-validations": [_NAME_RULE],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "waypost", "app.kubernetes.io/part-of": "waypost"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["whatsapp"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [each.written() for each in kind.columns],
                    "selectableFields": [{"jsonPath": each} for each in kind.selectable],
                }
            ],
        },
    }


def structural(model: type[BaseModel]) -> Schema:
    """Returns the structural schema of a model, in the form that Kubernetes accepts."""
    whole = model.model_json_schema(by_alias=True)
    return _structural(whole, whole.get("$defs", {}))


def _explained(schema: Schema) -> Schema:
    """Returns the schema with bounds, rules and defaults added to its descriptions.

    They are added because `kubectl explain` shows only descriptions.
    """
    if any(each["rule"] == "false" for each in schema.get("x-kubernetes-validations", ())):
        return schema
    found = dict(schema)
    if "description" in found:
        found["description"] = " ".join((found["description"], *_limits(found)))
    if "properties" in found:
        found["properties"] = {name: _explained(each) for name, each in found["properties"].items()}
    if "items" in found:
        found["items"] = _explained(found["items"])
    return found


def _limits(schema: Schema) -> Iterator[str]:
    inner = schema.get("items", schema)
    if "maxItems" in schema:
        yield f"At most {schema['maxItems']} of them."
    for message in dict.fromkeys(each["message"] for each in inner.get("x-kubernetes-validations", ())):
        yield _sentence(message, "It" if inner is schema else "Each")
    if inner["type"] == "string" and "maxLength" in inner and "x-kubernetes-validations" not in inner:
        yield f"At most {inner['maxLength']} characters."
    if "minimum" in schema and "maximum" in schema:
        yield f"From {schema['minimum']} to {schema['maximum']}."
    if "default" in schema and schema["type"] not in ("object", "array"):
        yield f"Defaults to `{json.dumps(schema['default']).strip(chr(34))}`."


def _sentence(message: str, subject: str) -> str:
    """Returns a rule's message as a sentence about `subject`.

    If the message begins with a field's name, that name keeps its spelling.
    """
    first, _, rest = message.partition(" ")
    begin = {"must": f"{subject} must", "give": "Give"}.get(first, f"`{first}`")
    return f"{begin} {rest}."


def _without_defaults(schema: Schema) -> Schema:
    found = {name: each for name, each in schema.items() if name != "default"}
    if "properties" in found:
        found["properties"] = {name: _without_defaults(each) for name, each in found["properties"].items()}
    if "items" in found:
        found["items"] = _without_defaults(found["items"])
    return found


def _structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = dict(schema)
    if "anyOf" in schema:
        # An optional field: keep the alternative that is not null, with the attributes beside `anyOf`.
        chosen = [each for each in schema.pop("anyOf") if each.get("type") != "null"]
        assert len(chosen) == 1, "a structural schema knows no alternatives"
        schema = chosen[0] | schema
    if "$ref" in schema:
        # The description of the field says more than the description of its type.
        schema = definitions[schema.pop("$ref").rpartition("/")[2]] | schema
        return _structural(schema, definitions)
    for name in ("title", "additionalProperties", "$defs"):
        schema.pop(name, None)
    if schema.get("default", 0) is None:
        del schema["default"]
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    found = [*_rules_of(schema), *schema.pop("x-kubernetes-validations", [])]
    if found:
        schema["x-kubernetes-validations"] = found
    if "properties" in schema:
        schema["properties"] = {name: _structural(each, definitions) for name, each in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = _structural(schema["items"], definitions)
    return schema


def _rules_of(schema: Schema) -> list[Schema]:
    rules = []
    if (form := schema.pop(FORM, None)) is not None:
        schema.pop("pattern", None)
        rules.append(rule(f"self.matches({json.dumps(form['pattern'])})", form["message"]))
    if (message := schema.pop(IMMUTABLE, None)) is not None:
        rules.append(rule("self == oldSelf", message))
    return rules


class _Plain(yaml.SafeDumper):
    """A YAML dumper that writes repeated content in full.

    Some programs that read manifests do not understand YAML anchors.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as the base class has it
        return True


def manifest(kind: Kind) -> str:
    """Returns the CRD of `kind` as YAML, with the header of a generated file."""
    return HEADER + _yaml(crd(kind))


def _yaml(content: Schema) -> str:
    return yaml.dump(content, Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)
