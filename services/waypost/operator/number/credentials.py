"""Reads the credentials of a number from a Secret.

A label on the Secret must show that its owner allows this.
"""

from dataclasses import dataclass

from pydantic import Field, ValidationError

from waypost.contracts.condition_types import Reason
from waypost.contracts.fields import MetaId, Strict
from waypost.operator.api.number_models import CREDENTIALS_LABEL
from waypost.operator.cluster.interface import Stored

KEYS = frozenset({"appId", "appSecret", "accessToken", "previousAppSecret", "pin"})
"""Keys of the Secret that are read. All other keys are ignored."""

_FORMS = {
    "appId": "must be the id of the app at Meta, digits",
    "appSecret": "must be one to 256 characters",
    "accessToken": "must be one word of at most 2,048 characters",
    "previousAppSecret": "must be one to 256 characters",
    "pin": "must be six digits",
}


class Credentials(Strict):
    """The ids, the secrets and the access token with which Meta is called for a number."""

    app_id: MetaId
    app_secret: str = Field(min_length=1, max_length=256, repr=False)
    access_token: str = Field(min_length=1, max_length=2048, pattern=r"^\S+$", repr=False)
    previous_app_secret: str | None = Field(default=None, min_length=1, max_length=256, repr=False)
    pin: str | None = Field(default=None, pattern=r"^[0-9]{6}$", repr=False)


@dataclass(frozen=True)
class Unusable:
    """The reason why the credentials of a number cannot be used, as the condition `CredentialsValid` states it."""

    reason: Reason
    message: str
    is_withdrawn: bool = False
    """Whether the Secret exists but its owner does not allow its use."""


def read(secret: Stored | None, namespace: str, name: str) -> Credentials | Unusable:
    """Returns the credentials in `secret`, or the reason why there are none.

    `namespace` and `name` belong to the Secret. No message contains a value from the Secret. The label is checked
    before the content. Otherwise a user who may create a number could use a Secret that is not meant for the
    number, or learn something about the content of the Secret.
    """
    if secret is None:
        message = f"There is no Secret {name} in namespace {namespace}. Create it, or correct spec.credentialsRef."
        return Unusable(Reason.SECRET_MISSING, message)
    if secret.labels.get(CREDENTIALS_LABEL) != "true":
        message = (
            f'The Secret {name} does not carry the label {CREDENTIALS_LABEL}: "true". '
            "The owner of the Secret must set the label to allow this use."
        )
        return Unusable(Reason.SECRET_NOT_OPTED_IN, message, is_withdrawn=True)
    values = {}
    for key in sorted(KEYS & secret.data.keys()):
        try:
            # `echo | base64` and most editors leave a newline at the end.
            values[key] = secret.data[key].decode().rstrip("\r\n")
        except UnicodeDecodeError:
            return Unusable(Reason.SECRET_INVALID, f"Correct the Secret {name}: {key} is not text.")
    try:
        return Credentials.model_validate(values)
    except ValidationError as error:
        wrong = sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]})
        parts = [f"{key} is missing" if key not in values else f"{key} {_FORMS[key]}" for key in wrong]
        return Unusable(Reason.SECRET_INVALID, f"Correct the Secret {name}: {', '.join(parts)}.")
