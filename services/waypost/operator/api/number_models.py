"""Typed models of the kind `WhatsAppNumber`. Its CRD, its reference and its checks are derived from them.

`kubectl explain` shows the docstrings of this module.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from waypost.contracts.condition_types import ConditionStatus
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
    rule,
    rules,
)

GROUP = "waypost.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

CREDENTIALS_LABEL = "waypost.dev/credentials"
"""Label that a credentials Secret must carry with the value "true": the right to write a number must not become the
right to use any Secret of the namespace."""

FINALIZER = "waypost.dev/number"
RECONCILE_REQUESTED = "waypost.dev/reconcile-requested-at"
"""Annotation: a new value asks for a reconcile now. `status.lastHandledReconcileAt` repeats the value once it was
handled."""
ABANDON = "waypost.dev/abandon"
"""Annotation: "true" lets a deletion go through without a call to Meta."""


def _import_path(value: str) -> str:
    module, _, function = value.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError("must look like package.module:function")
    return value


class Webhook(Strict):
    """The level at which the callback is registered at Meta."""

    scope: Literal["Number", "Account", "App"] = "Number"
    """`Number` gives this number a callback of its own. `Account` registers one for its whole WhatsApp Business
    account. `App` uses no callback but the app's. Events of templates and of the account always go to the app's
    callback, whichever is chosen."""


_SOMETHING = "give reply, handOff: true, or both"
_MINUTES_NEED_HAND_OFF = "handOffMinutes needs handOff: true"


class OnError(Strict):
    """What a contact gets whose message the bot could not handle."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.reply) || (has(self.handOff) && self.handOff)", _SOMETHING),
            rule("!has(self.handOffMinutes) || (has(self.handOff) && self.handOff)", _MINUTES_NEED_HAND_OFF),
        )
    )

    reply: (
        Annotated[
            str,
            StringConstraints(max_length=1024),
            form(r"^[^\x00]*[^\s\x00][^\x00]*$", "must be a text that is not blank"),
        ]
        | None
    ) = None
    """The text that the contact gets. Window and opt-out count as for any reply."""
    hand_off: bool = False
    """Whether the conversation is handed to a person, as a script can do. The bot is silent then."""
    hand_off_minutes: int | None = Field(default=None, ge=1, le=43_200)
    """For how many minutes the bot is silent. Without it, until a person gives the conversation back."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reply is None and not self.hand_off:
            raise ValueError(_SOMETHING)
        if self.hand_off_minutes is not None and not self.hand_off:
            raise ValueError(_MINUTES_NEED_HAND_OFF)
        return self


class Bot(Strict):
    """The bot that answers: a script in a ConfigMap, or a Python function."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("configMapRef", "plugin")))

    config_map_ref: NameReference | None = None
    """The ConfigMap whose key `bot.yaml` holds the script. If it carries the label `waypost.dev/watched: "true"`, a
    change takes effect at once. Otherwise it takes effect at the next reconcile, which is every five minutes unless the
    platform has set another interval."""
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
    """A Python function that answers, as `package.module:function`. It must be installed in the workers' image and be
    listed by the platform (`bot.plugins` of the chart): workers serve all teams, so they import no other function."""
    mark_read: bool = False
    """Whether senders see that their message was read, as soon as the bot begins to handle it."""
    typing_indicator: bool = False
    """Whether senders see that an answer is being written. The sign is sent with the read receipt, so it has no effect
    unless `markRead` is true."""
    on_error: OnError | None = None
    """What a contact gets whose message was given up because the bot failed in all attempts. Without it, the contact
    gets no answer to that message."""

    _one_source = exactly_one("configMapRef", "plugin")


class Limits(Strict):
    """The limits of the number's sends."""

    messages_per_second: int = Field(default=80, ge=1, le=1000)
    """Messages per second that the number may send, all workers together. Meta allows 80 at first, 1,000 after an
    upgrade, and 20 for a number that is also used in the WhatsApp Business app."""


class OutsideWindow(Strict):
    """The substitute for a reply when 24 hours have passed since the contact wrote."""

    template: TemplateName
    """The template that is sent in place of the reply; Meta must have approved it."""


class Retention(Strict):
    """The time for which the content of conversations is kept."""

    messages: Duration = "90d"
    """Age at which messages are due to be erased. This version only records the value and erases nothing by itself."""


class NumberSpec(Strict):
    """The desired number: its identity at Meta, its credentials, its callback and its bot."""

    phone_number_id: MetaId = Field(json_schema_extra=immutable("phoneNumberId"))
    """Id of the phone number at Meta, as WhatsApp Manager and the app's API setup show it. It is not the phone number
    itself."""
    waba_id: MetaId = Field(json_schema_extra=immutable("wabaId"))
    """Id of the WhatsApp Business account that the number belongs to, as WhatsApp Manager shows it."""
    credentials_ref: NameReference
    """The Secret with the keys `appId`, `appSecret` and `accessToken`, and optionally `previousAppSecret` (still
    accepted while the app secret changes) and `pin` (six digits, with which a number that is not connected is
    registered). It must carry the label `waypost.dev/credentials: "true"`, with which its owner allows this use."""
    webhook: Webhook = Webhook()
    """The callback to which Meta delivers this number's messages."""
    bot: Bot | None = None
    """The bot that answers: a script in a ConfigMap, or a Python function. Without a bot, messages are stored and not
    answered."""
    limits: Limits = Limits()
    """The limits of the number's sends. Replies go before messages of schedules."""
    outside_window: OutsideWindow | None = None
    """The substitute for a reply when 24 hours have passed since the contact wrote: after that, Meta accepts templates
    only. Without a substitute the reply fails, and the console and the metrics count it as failed."""
    retention: Retention = Retention()
    """The time for which the content of conversations is kept."""
    deletion_policy: Literal["Orphan", "Delete"] = "Orphan"
    """What happens at Meta when this object is deleted. `Orphan` changes nothing there. `Delete` removes the callback,
    and the app's subscription too if no other number of the account needs it. The phone number itself is never deleted
    or deregistered."""
    suspend: bool = False
    """Whether the operator leaves the number alone. While true, it changes nothing at Meta or in the cluster; messages
    keep flowing. A number that is suspended before it was set up is not ready."""


class Condition(Written):
    """One aspect of the object's state."""

    type: str = Field(max_length=63)
    """Aspect that this condition is about, in CamelCase."""
    status: ConditionStatus
    """Whether the condition holds; `Unknown` while it cannot be determined, or if that was last possible long ago."""
    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that the condition was determined for."""
    last_transition_time: Moment
    """When `status` last changed from one value to another."""
    reason: str = Field(max_length=63)
    """The reason in one CamelCase word. Programs may rely on it."""
    message: str = Field(default="", max_length=1024)
    """The reason in a sentence. Where a person must act, it says what to do and on which page."""


class PhoneStatus(Written):
    """The phone number, as Meta described it when it was last read."""

    ending: str = Field(default="", max_length=8)
    """Last two digits of the phone number; the number itself is kept out of this object."""
    verified_name: str = Field(default="", max_length=128)
    """Display name that Meta shows to contacts."""
    connection: str = Field(default="", max_length=32)
    """State of the number at Meta. It can send and receive while the state is `CONNECTED`."""
    quality: str = Field(default="", max_length=32)
    """Meta's quality rating: `GREEN`, `YELLOW` or `RED`. It falls when contacts block or report the number."""
    throughput: str = Field(default="", max_length=32)
    """Throughput level that Meta grants: `STANDARD` or `HIGH`."""
    messaging_limit: str = Field(default="", max_length=64)
    """Meta's tier: how many people who did not write first may be written to in 24 hours."""
    can_send: str = Field(default="", max_length=32)
    """Whether Meta lets the number send: `AVAILABLE`, `LIMITED` or `BLOCKED`."""


class TokenStatus(Written):
    """The access token in use. Neither the token nor anything computed from it is shown."""

    expires_at: Moment | None = None
    """When the token expires; absent if it never does."""
    source: Literal["Secret", "Refreshed", ""] = ""
    """Origin of the token: `Secret` is the one in the credentials Secret, `Refreshed` a newer one that the operator
    obtained in exchange for it."""
    secret_resource_version: str = Field(default="", max_length=64)
    """Resource version of the credentials Secret that was last checked at Meta."""
    warned_days: int | None = Field(default=None, ge=0, le=14)
    """How many days ahead of the token's end the last warning was given: 14, 7, 3 or 1."""


class WebhookStatus(Written):
    """The callback that should be registered at Meta."""

    url: str = Field(default="", max_length=512)
    """Address to which Meta should deliver this number's messages."""
    scope: str = Field(default="", max_length=16)
    """Level at which the address is registered: `Number`, `Account` or `App`."""


class RegistrationStatus(Written):
    """Calls of `register` for this number. Meta allows 10 in 72 hours and then locks the number for 72 hours."""

    attempts: list[Moment] = Field(default=[], max_length=10)
    """When the calls of the last 72 hours were made, oldest first. Each is recorded before it is made."""
    blocked_until: Moment | None = None
    """Time before which no further call is made."""
    refused_code: int | None = None
    """Meta's code for the refusal of the last call, if only a person can remove its cause."""
    refused_secret_version: str = Field(default="", max_length=64)
    """Resource version of the credentials Secret at that refusal. When it changes, the call is tried again."""


class UnansweredStatus(Written):
    """The time of Meta's last answer about each subject. Only subjects without an answer for some time are listed."""

    token: Moment | None = None
    """Last answer about app and token."""
    number: Moment | None = None
    """Last answer about the phone number."""
    account: Moment | None = None
    """Last answer about the WhatsApp account."""
    app: Moment | None = None
    """Last answer about the app's callback."""


class TokenSecretReference(Written):
    """The Secret in which the operator keeps this number's verify tokens."""

    namespace: str = Field(max_length=63)
    """Namespace of the Secret, which is the operator's own."""
    name: str = Field(max_length=253)
    """Name of the Secret in that namespace."""


class NumberStatus(Written):
    """The state at Meta and in the cluster, as found by the last reconcile."""

    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that this status is about."""
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """The state by aspect. `Ready` is the summary of `CredentialsValid`, `TokenValid`, `Registered`, `Subscribed`,
    `WebhookVerified`, `BotLoaded` and `CanSend`. `BotHealthy` says what the workers report about the turns of the
    bot, and does not count for `Ready`. `QuotaExceeded` is true while a quota of the namespace keeps back a part of the
    number. `Reconciling` is true while the operator continues by itself, `Stalled` when a person must
    act."""
    phone: PhoneStatus | None = None
    """The phone number, as Meta described it when it was last read."""
    token: TokenStatus | None = None
    """The access token in use: its origin and its expiry, nothing else."""
    webhook: WebhookStatus | None = None
    """The callback that should be registered at Meta. The condition `WebhookVerified` says whether it is."""
    registration: RegistrationStatus | None = None
    """Calls of `register` for this number. Meta allows 10 in 72 hours and then locks the number for 72 hours."""
    token_secret_ref: TokenSecretReference | None = None
    """The Secret in which the operator keeps this number's verify tokens."""
    registry_shard: int | None = Field(default=None, ge=0)
    """Number of the registry's Secret that holds this number's entry for workers. Runs of schedules mount that
    entry."""
    unanswered_since: UnansweredStatus | None = None
    """When Meta last answered, by what it was asked about; only for what it has not answered for some time. Conditions
    that depend on it turn `Unknown` after half an hour, or after three resyncs if these take longer."""
    failure_count: int = Field(default=0, ge=0)
    """How many attempts have failed in a row."""
    next_attempt_time: Moment | None = None
    """When the next attempt is made after a failure. A change of the spec or of the credentials Secret is tried at
    once."""
    last_handled_reconcile_at: str = Field(default="", max_length=64)
    """Value of the annotation `waypost.dev/reconcile-requested-at` that was last handled. A change of the annotation
    asks for a reconcile now; the same value here says that it was done."""


class Metadata(BaseModel):
    """The metadata of any object, as far as the operator reads it."""

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
