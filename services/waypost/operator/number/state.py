"""Defines the facts about a number: what is desired and what was observed.

Plans and conditions are computed from these facts alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.graph.apps import OBJECT, AppSubscription, TokenDetails
from waypost.cloudapi.graph.business_accounts import SubscribedApp
from waypost.cloudapi.graph.errors import GraphError, GraphRefused, Verdict
from waypost.cloudapi.graph.numbers import PhoneNumber
from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api import conditions
from waypost.operator.api.number_models import NumberSpec
from waypost.operator.bots.verdict import BotVerdict
from waypost.operator.cluster.registry_secrets import NoRoom, Published, Use
from waypost.operator.number.actions import Action
from waypost.operator.number.claims import Claim
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.operator_secrets import NumberSecrets, RefreshedToken, digest

FIELDS = (
    "messages",
    "message_template_status_update",
    "account_update",
    "user_preferences",
    "phone_number_quality_update",
)
"""Webhook fields that an app subscribes to. Meta always sends template and account fields to the app's callback, even
if the number has a callback of its own."""

NEEDED_SCOPES = ("whatsapp_business_management", "whatsapp_business_messaging")
"""Scopes that an access token must have: one to manage the number, one to send."""


@dataclass(frozen=True)
class Desired:
    """A number as its object declares it."""

    namespace: str
    name: str
    generation: int
    spec: NumberSpec
    public_url: str
    """The public address, without a slash at its end."""
    plugins: AllowedPlugins = field(default_factory=AllowedPlugins)
    """Python functions that the platform allows as bots."""

    @property
    def refused_plugin(self) -> str | None:
        """The plugin that the spec names if the platform does not allow this plugin, otherwise None."""
        plugin = self.spec.bot.plugin if self.spec.bot else None
        return None if plugin is None or plugin in self.plugins else plugin

    @property
    def own_url(self) -> str:
        """The address of the number's own callback."""
        return f"{self.public_url}/webhooks/{self.namespace}/{self.name}"

    def app_url(self, app_id: str) -> str:
        """Returns the callback of the app, which serves all its numbers."""
        return f"{self.public_url}{app_path(app_id)}"

    def callback_url(self, app_id: str) -> str:
        """Returns the callback to which Meta should deliver this number's messages."""
        return self.own_url if self.spec.webhook.scope == "Number" else self.app_url(app_id)


def app_path(app_id: str) -> str:
    """Returns the path of an app's callback.

    The path shows that the callback belongs to Waypost, even after its host changed.
    """
    return f"/webhooks/apps/{app_id}"


def account_of(number: PhoneNumber) -> str | None:
    """Returns the id of the account that the number belongs to, or None if Meta does not name it."""
    entities = number.health_status.entities if number.health_status else []
    return next((each.id for each in entities if each.entity_type == "WABA" and each.id), None)


def is_transient(error: Exception) -> bool:
    """Returns whether a management call that failed may succeed later.

    A failure that ends by itself says nothing about the number.
    """
    return not isinstance(error, GraphRefused) or error.verdict in (Verdict.RETRY, Verdict.AMBIGUOUS)


@dataclass(frozen=True)
class Script:
    """The script of a number's bot."""

    text: str | None = None
    problem: tuple[Reason, str] | None = None
    """Reason and message of the condition, if the spec names a script that cannot be used."""


class Question(StrEnum):
    """The questions that Meta is asked about a number.

    Their values are the names of the fields of `MetaState` and the keys of the status field `unansweredSince`.
    """

    TOKEN = "token"  # noqa: S105 - not a token
    NUMBER = "number"
    ACCOUNT = "account"
    APP = "app"


@dataclass(frozen=True)
class MetaState:
    """Meta's answers in this reconcile.

    An answer is None if Meta was not asked because an earlier answer made the question pointless.
    """

    token: TokenDetails | GraphError | None = None
    number: PhoneNumber | GraphError | None = None
    account: tuple[SubscribedApp, ...] | GraphError | None = None
    app: tuple[AppSubscription, ...] | GraphError | None = None

    @property
    def answered(self) -> frozenset[Question]:
        """The questions that Meta answered. A failure that ends by itself is no answer."""
        answers = ((each, getattr(self, each)) for each in Question)
        return frozenset(
            question
            for question, answer in answers
            if answer is not None and not (isinstance(answer, GraphError) and is_transient(answer))
        )

    @property
    def app_subscription(self) -> AppSubscription | None:
        """The app's subscription for WhatsApp, with its callback.

        It is None if Meta was not asked or if there is no subscription.
        """
        if not isinstance(self.app, tuple):
            return None
        return next((each for each in self.app if each.object == OBJECT), None)

    @property
    def is_proven(self) -> bool:
        """Whether Meta has shown that the token is valid and may act for this number.

        Only then may the number be published.
        """
        token = self.token
        if not isinstance(token, TokenDetails) or not token.is_valid:
            return False
        return set(NEEDED_SCOPES) <= set(token.scopes) and isinstance(self.number, PhoneNumber)


@dataclass(frozen=True)
class Observed:
    """Everything that was observed about a number."""

    credentials: Credentials | Unusable
    secret_version: str = ""
    """Resource version of the credentials Secret."""
    secrets: NumberSecrets | None = None
    refreshed: RefreshedToken | None = None
    published: Published = field(default_factory=Published)
    script: Script = field(default_factory=Script)
    no_room: NoRoom | None = None
    """Why the registry cannot take the script, if the number is published with another one."""
    quota: Use | None = None
    """How much of its quota of the registry the namespace uses; None if it has no quota."""
    holder: Claim | None = None
    """The other object that holds the phone number; None if there is none, or if these credentials have not reached the
    number."""
    yielding: Claim | None = None
    """The object that held the phone number until now, and loses it to this one because Meta refuses its
    credentials."""
    stale: Mapping[Question, float] = field(default_factory=dict)
    """Questions that Meta has not answered for long, with the time of its last answer, in seconds since 1970."""
    meta: MetaState | None = None
    """Meta's answers; None if Meta was not asked in this reconcile."""
    bot_health: BotVerdict | None = None
    """What the workers report about the bot; None before they were asked."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """The status that was last written to the object."""
    failed: Mapping[type[Action], Exception] = field(default_factory=dict)
    """Errors of the actions that failed in this reconcile. These actions are not tried a second time in it."""
    old_token_in_use: bool = True
    """Whether any number is still published with the token that the refreshed token replaced."""
    may_retry_refused: bool = False
    """Whether a user asked for this reconcile by annotation, so that refused calls are tried again."""
    may_refresh: bool = True
    """Whether the token may be refreshed. After a failure it may not be refreshed for some hours."""
    candidate_verify_token: str = field(default="", repr=False)
    """A new verify token, which is used if the number has none. It is created before planning, so that planning stays
    pure."""

    @property
    def token(self) -> str | None:
        """The access token in use.

        It is the token in the credentials Secret or the refreshed token that replaced it.
        """
        if not isinstance(self.credentials, Credentials):
            return None
        return self.refreshed.token if self.is_refreshed and self.refreshed else self.credentials.access_token

    @property
    def is_refreshed(self) -> bool:
        """Whether the token in use is a refreshed token, which the operator itself obtained."""
        if not isinstance(self.credentials, Credentials) or self.refreshed is None:
            return False
        return self.refreshed.source == digest(self.credentials.access_token)

    @property
    def checked_version(self) -> str:
        """The version of the credentials Secret with which Meta was last asked.

        It does not matter what Meta answered.
        """
        return str((self.status.get("token") or {}).get("secretResourceVersion") or "")

    @property
    def is_accepted(self) -> bool:
        """Whether Meta, when it was last asked, accepted the credentials that are still in use."""
        if not self.secret_version or self.checked_version != self.secret_version:
            return False
        if conditions.reason_of(self.status, ConditionType.REGISTERED) == Reason.NO_ACCESS:
            return False
        needed = (ConditionType.CREDENTIALS_VALID, ConditionType.TOKEN_VALID)
        found = {conditions.status_of(conditions.find(self.status, each)) for each in needed}
        if ConditionStatus.FALSE in found:
            return False
        # A valid token does not show that it may act for this number: Meta must have been asked about the number, too.
        registered = conditions.status_of(conditions.find(self.status, ConditionType.REGISTERED))
        if found == {ConditionStatus.TRUE} and registered is not ConditionStatus.UNKNOWN:
            return True
        # After a long failure at Meta the conditions are unknown. What is published was accepted.
        return self._is_published

    @property
    def _is_published(self) -> bool:
        """Whether exactly these credentials are published."""
        route, number = self.published.route, self.published.number
        if not isinstance(self.credentials, Credentials) or route is None or number is None:
            return False
        published = (route.app_id, route.app_secrets[:1], number.access_token)
        return published == (self.credentials.app_id, (self.credentials.app_secret,), self.token)

    @property
    def has_reached_number(self) -> bool:
        """Whether credentials of this object have ever reached the phone number at Meta, as far as is known."""
        if self.published.route is not None or self.published.number is not None or self.status.get("phone"):
            return True
        return self.meta is not None and isinstance(self.meta.number, PhoneNumber)
