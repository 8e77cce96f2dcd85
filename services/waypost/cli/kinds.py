"""What a user writes: the fields of a `WhatsAppNumber` and of the Secret and ConfigMap it names, typed and bounded."""

import base64
import binascii
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

CREDENTIALS_LABEL = "waypost.dev/credentials"
"""A Secret without this label set to "true" is never read: who may write a number may not thereby use any Secret."""

NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"

MetaId = Annotated[str, StringConstraints(pattern=r"^[0-9]{5,32}$")]
"""An id at Meta: digits, in quotes, for YAML would make a number of it."""

ObjectName = Annotated[str, StringConstraints(pattern=NAME)]
"""A Kubernetes name without dots (RFC 1123 label), for it becomes part of a file's name and of an address."""

Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}[dhm]$")]
"""`90d`, `12h` or `30m`."""


def _import_path(value: str) -> str:
    module, _, function = value.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError("must look like package.module:function")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, frozen=True, hide_input_in_errors=True
    )


class NameReference(_Strict):
    """Another object of the same namespace; there is no way to name one elsewhere."""

    name: ObjectName


class Webhook(_Strict):
    """Where the callback is registered at Meta: for this number alone, its account, or the whole app."""

    scope: Literal["Number", "Account", "App"] = "Number"


class Bot(_Strict):
    """Who answers: a script in a ConfigMap (key `bot.yaml`), or a Python function."""

    config_map_ref: NameReference | None = None
    plugin: Annotated[str, AfterValidator(_import_path)] | None = None
    mark_read: bool = False
    typing_indicator: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> "Bot":
        if (self.config_map_ref is None) == (self.plugin is None):
            raise ValueError("name either configMapRef or plugin")
        return self


class Limits(_Strict):
    """Below what Meta grants: 80 messages a second at first, 1,000 after its upgrade, 20 for coexistence numbers."""

    messages_per_second: int = Field(default=80, ge=1, le=1000)


class TemplateName(_Strict):
    """A template as approved at Meta."""

    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(pattern=r"^[a-z]{2,3}(_[A-Z]{2,3})?$")


class OutsideWindow(_Strict):
    """What a reply becomes when 24 hours have passed since the contact wrote."""

    template: TemplateName


class Retention(_Strict):
    """How long what was said is kept."""

    messages: Duration = "90d"


class NumberSpec(_Strict):
    """`spec` of a `WhatsAppNumber`."""

    phone_number_id: MetaId
    waba_id: MetaId
    credentials_ref: NameReference
    webhook: Webhook = Webhook()
    bot: Bot | None = None
    limits: Limits = Limits()
    outside_window: OutsideWindow | None = None
    retention: Retention = Retention()
    deletion_policy: Literal["Orphan", "Delete"] = "Orphan"
    suspend: bool = False


class _Lenient(BaseModel):
    """Objects that Kubernetes owns: only what we read is looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Metadata(_Lenient):
    """Of any object."""

    name: ObjectName
    namespace: ObjectName = "default"
    labels: dict[str, str] = {}


def _not_apps(namespace: str) -> str:
    if namespace == "apps":
        raise ValueError("apps is taken by the routes of apps (/webhooks/apps/…); use another namespace")
    return namespace


class NumberMetadata(Metadata):
    """Of a number, whose namespace becomes a part of its callback's address."""

    namespace: Annotated[ObjectName, AfterValidator(_not_apps)] = "default"


class WhatsAppNumber(_Lenient):
    """The kind `WhatsAppNumber` of `waypost.dev/v1alpha1`."""

    metadata: NumberMetadata
    spec: NumberSpec


class ConfigMap(_Lenient):
    """A ConfigMap's text."""

    metadata: Metadata
    data: dict[str, str] = {}


class Secret(_Lenient):
    """A Secret's values, decoded; `stringData` wins over `data`, as in Kubernetes."""

    metadata: Metadata
    data: dict[str, str] = Field(default={}, repr=False)
    string_data: dict[str, str] = Field(default={}, alias="stringData", repr=False)

    @property
    def is_opted_in(self) -> bool:
        """Whether its owner allows numbers of the namespace to use it."""
        return self.metadata.labels.get(CREDENTIALS_LABEL) == "true"

    @model_validator(mode="after")
    def _data_is_base64(self) -> "Secret":
        for key, value in self.data.items():
            try:
                base64.b64decode(value, validate=True).decode()
            except (binascii.Error, ValueError):
                raise ValueError(f"data.{key} is not base64 of text; write plain text under stringData") from None
        return self

    def values(self) -> dict[str, str]:
        """Key to text. A newline at the end, which `echo | base64` leaves, is dropped."""
        decoded = {key: base64.b64decode(value).decode() for key, value in self.data.items()}
        return {key: value.rstrip("\r\n") for key, value in {**decoded, **self.string_data}.items()}


class Credentials(_Strict):
    """What the Secret of a number holds."""

    app_id: MetaId
    app_secret: str = Field(min_length=1, max_length=256, repr=False)
    access_token: str = Field(min_length=1, max_length=2048, pattern=r"^\S+$", repr=False)
    previous_app_secret: str | None = Field(default=None, min_length=1, max_length=256, repr=False)
    pin: str | None = Field(default=None, pattern=r"^[0-9]{6}$", repr=False)
