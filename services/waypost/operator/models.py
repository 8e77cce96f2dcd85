"""The kind `WhatsAppNumber` as typed models (`BotSchedule`: `schedule_models.py`): source of CRD, reference and checks.

Docstrings here are what `kubectl explain` shows.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from waypost.operator.fields import (
    Duration,
    MetaId,
    Moment,
    NameReference,
    ObjectName,
    Strict,
    TemplateName,
    Written,
    exactly_one,
    form,
    immutable,
    one_of,
    rules,
)

GROUP = "waypost.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

CREDENTIALS_LABEL = "waypost.dev/credentials"
"""A Secret without this label set to "true" is never used: who may write a number may not thereby use any Secret."""

FINALIZER = "waypost.dev/number"
RECONCILE_REQUESTED = "waypost.dev/reconcile-requested-at"
"""Annotation: any new value asks for a reconcile now; mirrored into `status.lastHandledReconcileAt`."""
ABANDON = "waypost.dev/abandon"
"""Annotation: "true" lets a deletion go through without asking Meta anything."""


def _import_path(value: str) -> str:
    module, _, function = value.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError("must look like package.module:function")
    return value


class Webhook(Strict):
    """Where the callback is registered at Meta."""

    scope: Literal["Number", "Account", "App"] = "Number"
    """`Number`: this number has a callback of its own. `Account`: its WhatsApp Business account has. `App`: the app's
    callback serves it, as it always serves template and account events."""


class Bot(Strict):
    """Who answers: a script in a ConfigMap, or a Python function."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("configMapRef", "plugin")))

    config_map_ref: NameReference | None = None
    """ConfigMap whose key `bot.yaml` holds the script. With the label `waypost.dev/watched: "true"` a change is taken
    up at once, without it within the resync interval."""
    plugin: (
        Annotated[
            str,
            StringConstraints(max_length=256),
            form(
                r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
                "must look like package.module:function",
            ),
            AfterValidator(_import_path),
        ]
        | None
    ) = None
    """`package.module:function` in the worker's image."""
    mark_read: bool = False
    """Show the sender that the message was read as soon as the bot has seen it."""
    typing_indicator: bool = False
    """Show the sender that an answer is being written."""

    _one_source = exactly_one("configMapRef", "plugin")


class Limits(Strict):
    """How fast the number may send."""

    messages_per_second: int = Field(default=80, ge=1, le=1000)
    """At most what Meta grants: 80 at first, 1,000 after its upgrade, 20 for numbers shared with the business app."""


class OutsideWindow(Strict):
    """What a reply becomes when 24 hours have passed since the contact wrote."""

    template: TemplateName
    """Approved template that is sent instead."""


class Retention(Strict):
    """How long what was said is kept."""

    messages: Duration = "90d"
    """Messages older than this are erased: `90d`, `12h`, `30m`."""


class NumberSpec(Strict):
    """What the number shall be."""

    phone_number_id: MetaId = Field(json_schema_extra=immutable("phoneNumberId"))
    """Id of the phone number at Meta (WhatsApp Manager, API setup). Not the number itself."""
    waba_id: MetaId = Field(json_schema_extra=immutable("wabaId"))
    """Id of the WhatsApp Business account that the number belongs to."""
    credentials_ref: NameReference
    """Secret with `appId`, `appSecret`, `accessToken` and, optional, `previousAppSecret` and `pin`. It must carry the
    label `waypost.dev/credentials: "true"`."""
    webhook: Webhook = Webhook()
    """Where deliveries come in."""
    bot: Bot | None = None
    """Who answers; without it messages are stored and not answered."""
    limits: Limits = Limits()
    """How fast the number may send."""
    outside_window: OutsideWindow | None = None
    """What a reply becomes after the 24 h window; without it such a reply fails visibly."""
    retention: Retention = Retention()
    """How long messages are kept."""
    deletion_policy: Literal["Orphan", "Delete"] = "Orphan"
    """`Orphan` leaves everything at Meta as it is when the object is deleted; `Delete` takes the callback away. The
    number itself is never deleted or deregistered."""
    suspend: bool = False
    """While true nothing is changed, neither at Meta nor in the cluster; messages keep flowing."""


class Condition(Written):
    """One side of the state."""

    type: str = Field(max_length=63)
    """Which side."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that this speaks of."""
    last_transition_time: Moment
    """When `status` last changed."""
    reason: str = Field(max_length=63)
    """One word for programs."""
    message: str = Field(default="", max_length=1024)
    """What a person must know or do."""


class PhoneStatus(Written):
    """The number as Meta sees it."""

    ending: str = Field(default="", max_length=8)
    """Last two digits of the phone number; the number itself is kept out of the cluster's state."""
    verified_name: str = Field(default="", max_length=128)
    """Display name."""
    connection: str = Field(default="", max_length=32)
    """Meta's state: `CONNECTED` when it can send and receive."""
    quality: str = Field(default="", max_length=32)
    """Quality rating: `GREEN`, `YELLOW`, `RED`."""
    throughput: str = Field(default="", max_length=32)
    """Throughput level: `STANDARD` or `HIGH`."""
    messaging_limit: str = Field(default="", max_length=64)
    """How many people may be written to per 24 hours outside their windows."""
    can_send: str = Field(default="", max_length=32)
    """Health: `AVAILABLE`, `LIMITED`, `BLOCKED`."""


class TokenStatus(Written):
    """The access token in use, of which nothing but its dates is told."""

    expires_at: Moment | None = None
    """When it lapses; absent: never."""
    source: Literal["Secret", "Refreshed", ""] = ""
    """`Secret`: the one in the credentials Secret. `Refreshed`: a newer one that the operator got for it."""
    secret_resource_version: str = Field(default="", max_length=64)
    """Version of the credentials Secret that was last checked at Meta."""
    warned_days: int | None = Field(default=None, ge=0, le=14)
    """The last warning on its end was for this many days."""


class WebhookStatus(Written):
    """The callback."""

    url: str = Field(default="", max_length=512)
    """Address that Meta delivers to."""
    scope: str = Field(default="", max_length=16)
    """Where it is registered."""


class RegistrationStatus(Written):
    """Calls of `register` made for this number: Meta allows 10 in 72 hours and then locks the number for as long."""

    attempts: list[Moment] = Field(default=[], max_length=10)
    """When they were made, oldest first, of the last 72 hours."""
    blocked_until: Moment | None = None
    """No call before this."""
    refused_code: int | None = None
    """Meta's code when the last call was refused for a reason that only a person can remove."""
    refused_secret_version: str = Field(default="", max_length=64)
    """Version of the credentials Secret at that refusal: another PIN is worth another try."""


class TokenSecretReference(Written):
    """Where the operator keeps verify tokens and a refreshed access token."""

    namespace: str = Field(max_length=63)
    """The operator's own namespace."""
    name: str = Field(max_length=253)
    """Name of the Secret."""


class NumberStatus(Written):
    """What was found and done."""

    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that this status speaks of."""
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """`Ready` is the summary; `CredentialsValid`, `TokenValid`, `Registered`, `Subscribed`, `WebhookVerified` are its
    parts; `Reconciling` and `Stalled` say whether it heals by itself."""
    phone: PhoneStatus | None = None
    """The number as Meta sees it."""
    token: TokenStatus | None = None
    """The access token in use."""
    webhook: WebhookStatus | None = None
    """The callback."""
    registration: RegistrationStatus | None = None
    """Calls of `register`."""
    token_secret_ref: TokenSecretReference | None = None
    """Where verify tokens are kept."""
    failure_count: int = Field(default=0, ge=0)
    """Attempts that failed in a row."""
    next_attempt_time: Moment | None = None
    """Not before this, after a failure; a changed spec or Secret is tried at once."""
    last_handled_reconcile_at: str = Field(default="", max_length=64)
    """The last value of the annotation `waypost.dev/reconcile-requested-at` that was acted on."""


class Metadata(BaseModel):
    """Of any object; only what is read."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, alias_generator=to_camel)

    name: ObjectName
    namespace: ObjectName = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
