"""Field types that `WhatsAppNumber` and `BotSchedule` share.

They are bounded strings, references, and rules that the API server checks too.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from waypost.cloudapi.messages import bsuid

FORM = "x-waypost-form"
"""Member of a JSON schema that `crd.py` turns into the rule that a string has a certain form."""
IMMUTABLE = "x-waypost-immutable"
"""Member of a JSON schema that `crd.py` turns into the rule that a field never changes. It is not the same member as
`FORM`, so that a merge of two schemas loses neither."""


def form(pattern: str, message: str) -> Any:
    """Returns a field that accepts only strings that match `pattern`.

    For any other string, the API server shows `message` instead of the pattern.
    """
    return Field(pattern=pattern, json_schema_extra={FORM: {"pattern": pattern, "message": message}})


MetaId = Annotated[
    str, StringConstraints(max_length=32), form(r"^[0-9]{5,32}$", "must be an id at Meta: 5 to 32 digits, in quotes")
]
"""An id at Meta: digits. YAML needs quotes around it, or it would become a number."""

ObjectName = Annotated[
    str,
    StringConstraints(max_length=63),
    form(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be a name of small letters, digits and '-', at most 63 characters, without dots",
    ),
]
"""A Kubernetes name without dots (RFC 1123 label): it becomes part of a file name and of an address."""

Duration = Annotated[
    str, StringConstraints(max_length=16), form(r"^[1-9][0-9]{0,4}[dhm]$", "must be a duration, as 90d, 12h or 30m")
]
"""`90d`, `12h` or `30m`."""

Contact = Annotated[
    str,
    StringConstraints(max_length=135),
    form(
        rf"^(\+[1-9][0-9]{{6,14}}|{bsuid.FORM})$",
        "must be a phone number in E.164 (+ and country code, 7 to 15 digits, no spaces, as +393331234567) or a "
        "business-scoped user id (as IT.13491208655302741918)",
    ),
]
"""E.164: `+`, country code, number; no spaces. Without the `+` Meta would guess the country. Or, for a contact who
shows no phone number, the id that Meta's "Business-scoped user IDs" (2026-05-07) describes."""

TimeOfDay = Annotated[
    str,
    StringConstraints(max_length=16),
    form(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "must be a time of day of 24 hours, as 08:30"),
]
"""`08:30`, 24 hours."""

Moment = Annotated[str, StringConstraints(max_length=32), Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339, seconds, UTC: `2026-11-24T09:00:00Z`."""


def rule(expression: str, message: str) -> dict[str, str]:
    """Returns a rule of the schema.

    `expression` is a CEL expression over `self`. `message` is the sentence that a user reads when the rule is
    violated.
    """
    return {"rule": expression, "message": message}


def rules(*each: dict[str, str]) -> dict[str, Any]:
    """Returns the member of a JSON schema that contains these rules."""
    return {"x-kubernetes-validations": list(each)}


def immutable(what: str) -> dict[str, Any]:
    """Returns the part of a JSON schema that forbids changes of a field after creation. `what` names the field."""
    return {IMMUTABLE: f"{what} is immutable; delete the object and create it again"}


class Strict(BaseModel):
    """Base class of models for input that a user writes. An unknown field is an error.

    Error messages never repeat a value, because the value may be a secret.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class Confidential(Strict):
    """A model whose values are phone numbers or texts.

    Its repr shows only the type, because a repr may be written to a log.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__


class Written(BaseModel):
    """Base class of models for what the operator writes into a status.

    A status is validated when it is read again, because others can change it.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", use_attribute_docstrings=True
    )


def _refuse_namespace(schema: dict[str, Any]) -> None:
    # The API server drops fields it does not know, and the user would believe that another namespace was read.
    schema["properties"]["namespace"] = {
        "type": "string",
        "maxLength": 63,
        "description": "This must not be set: a reference never leaves the namespace of its object.",
        **rules(rule("false", "a reference stays in the object's own namespace; leave namespace out")),
    }


class NameReference(Strict):
    """A reference by name to an object of the same namespace. Objects of other namespaces cannot be named."""

    model_config = ConfigDict(json_schema_extra=_refuse_namespace)

    name: ObjectName
    """Name of the object, which is in the same namespace."""


class TemplateName(Strict):
    """A message template that Meta has approved."""

    name: Annotated[
        str,
        StringConstraints(max_length=512),
        form(r"^[a-z0-9_]+$", "must be a template's name at Meta: small letters, digits and '_'"),
    ]
    """Name of the template, as WhatsApp Manager shows it."""
    language: Annotated[
        str,
        StringConstraints(max_length=16),
        form(r"^[a-z]{2,3}(_[A-Z]{2,3})?$", "must be a language code as Meta writes it, as en or pt_BR"),
    ]
    """Language of the template; it must be one that the template was approved in."""


def exactly_one(*names: str) -> Any:
    """Returns a validator for a model. It requires that exactly one of the fields `names` is given.

    The names are spelled as in YAML.
    """

    def check(model: Strict) -> Strict:
        given = [
            alias
            for name, field in type(model).model_fields.items()
            if (alias := field.alias or name) in names and getattr(model, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(one_of_message(*names))
        return model

    return model_validator(mode="after")(check)


def one_of_message(*names: str) -> str:
    """Returns the sentence that a user reads when none or several of `names` are given."""
    return f"give exactly one of {', '.join(names[:-1])} and {names[-1]}"


def one_of(*names: str) -> dict[str, str]:
    """Returns a rule for the API server that makes the same check as `exactly_one`."""
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return rule(f"{count} == 1", one_of_message(*names))
