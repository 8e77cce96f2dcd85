"""The kind `WhatsAppNumber` as typed models (`BotSchedule`: `schedule_models.py`): source of CRD, reference and checks.

Docstrings here are what `kubectl explain` shows.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from waypost.contracts.fields import (
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
from waypost.operator.api.condition_types import ConditionStatus

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
    """`Number` gives this number a callback of its own. `Account` registers one for its whole WhatsApp Business
    account. `App` uses no callback but the app's. Events of templates and of the account always go to the app's
    callback, whichever is chosen."""


class Bot(Strict):
    """What answers: a script in a ConfigMap, or a Python function."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("configMapRef", "plugin")))

    config_map_ref: NameReference | None = None
    """The ConfigMap whose key `bot.yaml` holds the script. If it carries the label `waypost.dev/watched: "true"` a
    change is taken up at once, else when the number is next looked at, every five minutes unless the platform says
    otherwise."""
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
    """A Python function that answers, as `package.module:function`. It must be installed in the workers' image, and be
    one that the platform allows (`bot.plugins` of the chart): workers are shared, and import no other."""
    mark_read: bool = False
    """Whether senders are shown that their message was read, as soon as the bot has taken it up."""
    typing_indicator: bool = False
    """Whether senders are shown that an answer is being written. It goes out with the read receipt, so it does nothing
    unless `markRead` is true."""

    _one_source = exactly_one("configMapRef", "plugin")


class Limits(Strict):
    """How fast the number may send."""

    messages_per_second: int = Field(default=80, ge=1, le=1000)
    """Messages that the number may send in a second, all workers together. Meta grants 80 at first, 1,000 after its
    upgrade, and 20 to numbers that are shared with the WhatsApp Business app."""


class OutsideWindow(Strict):
    """What is sent in place of a reply when 24 hours have passed since the contact wrote."""

    template: TemplateName
    """The template that is sent in place of the reply; Meta must have approved it."""


class Retention(Strict):
    """How long the content of conversations is kept."""

    messages: Duration = "90d"
    """Age at which messages are due to be erased. This version only records it, and erases nothing by itself."""


class NumberSpec(Strict):
    """What the number is to be: which one at Meta, with whose credentials, where its messages go, and what answers."""

    phone_number_id: MetaId = Field(json_schema_extra=immutable("phoneNumberId"))
    """Id of the phone number at Meta, as the app's API setup and WhatsApp Manager show it; not the phone number
    itself."""
    waba_id: MetaId = Field(json_schema_extra=immutable("wabaId"))
    """Id of the WhatsApp Business account that the number belongs to, as WhatsApp Manager shows it."""
    credentials_ref: NameReference
    """The Secret with the keys `appId`, `appSecret` and `accessToken`, and optionally `previousAppSecret` (still
    accepted while app secrets change) and `pin` (six digits, by which a number that is not connected is registered). It
    must carry the label `waypost.dev/credentials: "true"`, by which its owner allows this use of it."""
    webhook: Webhook = Webhook()
    """The callback by which this number's messages come in."""
    bot: Bot | None = None
    """What answers: a script in a ConfigMap, or a Python function. Without it messages are stored and not answered."""
    limits: Limits = Limits()
    """How fast the number may send. Replies go before messages of schedules."""
    outside_window: OutsideWindow | None = None
    """What is sent in place of a reply when 24 hours have passed since the contact wrote, for after that Meta takes
    templates only. Without it such a reply fails, and is told as failed."""
    retention: Retention = Retention()
    """How long the content of conversations is to be kept."""
    deletion_policy: Literal["Orphan", "Delete"] = "Orphan"
    """What becomes of the registration at Meta when this object is deleted. `Orphan` leaves all of it as it is.
    `Delete` takes the callback away, and the app's subscription too if no other number of the account needs it. The
    phone number itself is never deleted or deregistered."""
    suspend: bool = False
    """Whether the operator leaves the number as it is. While true nothing is changed, neither at Meta nor in the
    cluster; messages keep flowing."""


class Condition(Written):
    """One aspect of the state, and whether all is well with it."""

    type: str = Field(max_length=63)
    """Aspect that this condition is about, in CamelCase."""
    status: ConditionStatus
    """Whether the condition holds; `Unknown` while that could not be found out."""
    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec for which this was found."""
    last_transition_time: Moment
    """When `status` last changed from one value to another."""
    reason: str = Field(max_length=63)
    """Why the condition is as it is, in one CamelCase word that programs may rely on."""
    message: str = Field(default="", max_length=1024)
    """Why the condition is as it is, in words. Where only a person can go on: what to do, and on which page."""


class PhoneStatus(Written):
    """The phone number as Meta described it at the last look."""

    ending: str = Field(default="", max_length=8)
    """Last two digits of the phone number; the number itself is kept out of this object."""
    verified_name: str = Field(default="", max_length=128)
    """Display name that Meta shows to contacts."""
    connection: str = Field(default="", max_length=32)
    """State of the number at Meta; it can send and receive while `CONNECTED`."""
    quality: str = Field(default="", max_length=32)
    """Quality rating by Meta, which falls when contacts block or report the number: `GREEN`, `YELLOW` or `RED`."""
    throughput: str = Field(default="", max_length=32)
    """Throughput level that Meta grants: `STANDARD` or `HIGH`."""
    messaging_limit: str = Field(default="", max_length=64)
    """Meta's tier of how many people may be written to in 24 hours who did not write first."""
    can_send: str = Field(default="", max_length=32)
    """Whether Meta lets the number send: `AVAILABLE`, `LIMITED` or `BLOCKED`."""


class TokenStatus(Written):
    """The access token in use. The token itself is never told, nor anything that is computed from it."""

    expires_at: Moment | None = None
    """When the token lapses; absent for one that never does."""
    source: Literal["Secret", "Refreshed", ""] = ""
    """Where the token is from: `Secret` is the one in the credentials Secret, `Refreshed` a newer one that the operator
    obtained for it."""
    secret_resource_version: str = Field(default="", max_length=64)
    """Resource version of the credentials Secret that was last shown to Meta."""
    warned_days: int | None = Field(default=None, ge=0, le=14)
    """How many days ahead of the token's end the last warning was given: 14, 7, 3 or 1."""


class WebhookStatus(Written):
    """The callback that is to be registered at Meta."""

    url: str = Field(default="", max_length=512)
    """Address that Meta is to deliver this number's messages to."""
    scope: str = Field(default="", max_length=16)
    """Level at which the address is registered: `Number`, `Account` or `App`."""


class RegistrationStatus(Written):
    """Calls of `register` that were made for this number. Meta allows 10 in 72 hours, and then locks the number for as
    long."""

    attempts: list[Moment] = Field(default=[], max_length=10)
    """When the calls of the last 72 hours were made, oldest first; each is written down before it is made."""
    blocked_until: Moment | None = None
    """Time before which no further call is made."""
    refused_code: int | None = None
    """Meta's code for the refusal of the last call, if only a person can remove its cause."""
    refused_secret_version: str = Field(default="", max_length=64)
    """Resource version of the credentials Secret at that refusal. Once it is another, the call is tried again."""


class TokenSecretReference(Written):
    """The Secret in which the operator keeps this number's verify tokens."""

    namespace: str = Field(max_length=63)
    """Namespace of the Secret, which is the operator's own."""
    name: str = Field(max_length=253)
    """Name of the Secret in that namespace."""


class NumberStatus(Written):
    """What was found at Meta and in the cluster when the number was last looked at."""

    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that this status is about."""
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """State by aspect. `Ready` is the summary of `CredentialsValid`, `TokenValid`, `Registered`, `Subscribed`,
    `WebhookVerified`, `BotLoaded` and `CanSend`. `Reconciling` is true while the operator goes on by itself, `Stalled`
    when a person must act."""
    phone: PhoneStatus | None = None
    """The phone number as Meta described it at the last look."""
    token: TokenStatus | None = None
    """The access token in use, of which nothing but its source and its end is told."""
    webhook: WebhookStatus | None = None
    """The callback that is to be registered at Meta; the condition `WebhookVerified` tells whether it is."""
    registration: RegistrationStatus | None = None
    """Calls of `register` that were made for this number. Meta allows 10 in 72 hours, and then locks the number for as
    long."""
    token_secret_ref: TokenSecretReference | None = None
    """The Secret in which the operator keeps this number's verify tokens."""
    failure_count: int = Field(default=0, ge=0)
    """How many attempts have failed in a row."""
    next_attempt_time: Moment | None = None
    """When the next attempt is made after a failure. A changed spec or credentials Secret is tried at once."""
    last_handled_reconcile_at: str = Field(default="", max_length=64)
    """Value of the annotation `waypost.dev/reconcile-requested-at` that was last acted on. Whoever changes the
    annotation has the number looked at now, and sees here that it was done."""


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
