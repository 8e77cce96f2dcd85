"""Models of the documents in a user's files.

These are Waypost's own kinds, and the Secrets and ConfigMaps that they refer to.
"""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from waypost.contracts.fields import ObjectName
from waypost.operator.api.number_models import CREDENTIALS_LABEL, NumberSpec
from waypost.operator.api.schedule_models import ScheduleSpec


class _Lenient(BaseModel):
    """A Kubernetes object. Fields that Waypost does not read are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Metadata(_Lenient):
    """The metadata of any object."""

    name: ObjectName
    namespace: ObjectName = "default"
    labels: dict[str, str] = {}


def _not_reserved(namespace: str) -> str:
    if namespace == "apps":
        raise ValueError("apps is reserved for the routes of apps (/webhooks/apps/…); use another namespace")
    return namespace


class NumberMetadata(Metadata):
    """The metadata of a number. The namespace becomes a part of the address of the number's callback."""

    namespace: Annotated[ObjectName, AfterValidator(_not_reserved)] = "default"


class WhatsAppNumber(_Lenient):
    """The kind `WhatsAppNumber` of `waypost.dev/v1alpha1`."""

    metadata: NumberMetadata
    spec: NumberSpec


class BotSchedule(_Lenient):
    """The kind `BotSchedule` of `waypost.dev/v1alpha1`."""

    metadata: Metadata
    spec: ScheduleSpec


class ConfigMap(_Lenient):
    """A ConfigMap with text values."""

    metadata: Metadata
    data: dict[str, str] = {}


class Secret(_Lenient):
    """A Secret. `stringData` takes precedence over `data`, as in Kubernetes."""

    metadata: Metadata
    data: dict[str, str] = Field(default={}, repr=False)
    string_data: dict[str, str] = Field(default={}, alias="stringData", repr=False)

    @property
    def is_opted_in(self) -> bool:
        """Returns whether the Secret has the label that allows the numbers of its namespace to use it."""
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
        """Returns the decoded values by key. A newline at the end, which `echo | base64` leaves, is removed."""
        decoded = {key: base64.b64decode(value).decode() for key, value in self.data.items()}
        return {key: value.rstrip("\r\n") for key, value in {**decoded, **self.string_data}.items()}
