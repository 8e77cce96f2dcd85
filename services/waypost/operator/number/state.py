"""What is wanted of a number, and what was found: the facts that planning and judging are functions of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.graph.apps import OBJECT, AppSubscription, TokenDetails
from waypost.cloudapi.graph.business_accounts import SubscribedApp
from waypost.cloudapi.graph.errors import GraphError, GraphRefused, Verdict
from waypost.cloudapi.graph.numbers import PhoneNumber
from waypost.operator.api import conditions
from waypost.operator.api.condition_types import ConditionType, Reason
from waypost.operator.api.number_models import NumberSpec
from waypost.operator.cluster.registry_secrets import Published
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.operator_secrets import Access, Kept, digest

FIELDS = (
    "messages",
    "message_template_status_update",
    "account_update",
    "user_preferences",
    "phone_number_quality_update",
)
"""What an app subscribes to. Template and account fields always go to the app's callback, whatever a number's is."""

NEEDED_SCOPES = ("whatsapp_business_management", "whatsapp_business_messaging")
"""What a token must be allowed to: manage the number, and send."""


@dataclass(frozen=True)
class Desired:
    """A number as declared."""

    namespace: str
    name: str
    generation: int
    spec: NumberSpec
    public_url: str
    """Without a slash at its end."""
    plugins: AllowedPlugins = field(default_factory=AllowedPlugins)
    """Bots in Python that the platform allows."""

    @property
    def refused_plugin(self) -> str | None:
        """The bot in Python that it asks for and that the workers will not import."""
        plugin = self.spec.bot.plugin if self.spec.bot else None
        return None if plugin is None or plugin in self.plugins else plugin

    @property
    def own_url(self) -> str:
        """The number's own callback."""
        return f"{self.public_url}/webhooks/{self.namespace}/{self.name}"

    def app_url(self, app_id: str) -> str:
        """The callback of the app, which serves all its numbers."""
        return f"{self.public_url}{app_path(app_id)}"

    def callback_url(self, app_id: str) -> str:
        """Where Meta shall deliver this number's messages."""
        return self.own_url if self.spec.webhook.scope == "Number" else self.app_url(app_id)


def app_path(app_id: str) -> str:
    """The path of an app's callback: by it one of our own addresses is known after the host changed."""
    return f"/webhooks/apps/{app_id}"


def passes(error: Exception) -> bool:
    """Whether the failure of a management call may end by itself; none of these says anything about the number."""
    return not isinstance(error, GraphRefused) or error.verdict in (Verdict.RETRY, Verdict.AMBIGUOUS)


@dataclass(frozen=True)
class Script:
    """The bot of a number. `problem`: why there is none although one is wanted, as (reason, message)."""

    text: str | None = None
    problem: tuple[Reason, str] | None = None


@dataclass(frozen=True)
class AtMeta:
    """What Meta said this time. None: it was not asked, for an earlier answer made that pointless."""

    token: TokenDetails | GraphError | None = None
    number: PhoneNumber | GraphError | None = None
    account: tuple[SubscribedApp, ...] | GraphError | None = None
    app: tuple[AppSubscription, ...] | GraphError | None = None

    @property
    def app_subscription(self) -> AppSubscription | None:
        """The app's callback for WhatsApp, if it was read and is there."""
        if not isinstance(self.app, tuple):
            return None
        return next((each for each in self.app if each.object == OBJECT), None)

    @property
    def is_proven(self) -> bool:
        """These credentials are good, and may act for this number: what is published of it may be believed."""
        token = self.token
        if not isinstance(token, TokenDetails) or not token.is_valid:
            return False
        return set(NEEDED_SCOPES) <= set(token.scopes) and isinstance(self.number, PhoneNumber)


@dataclass(frozen=True)
class Observed:
    """All that was found."""

    credentials: Credentials | Unusable
    secret_version: str = ""
    kept: Kept | None = None
    access: Access | None = None
    published: Published = field(default_factory=Published)
    script: Script = field(default_factory=Script)
    rival: str | None = None
    """Who else, and earlier, claims the phone number id; as a user may be told."""
    meta: AtMeta | None = None
    """None: Meta was not looked at this time."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """The status written last."""
    failed: Mapping[str, Exception] = field(default_factory=dict)
    """Actions of this reconcile that did not work, by the name of their class: they are not tried twice in one."""
    old_token_in_use: bool = True
    """Whether some number is still published with the token that a refreshed one replaced."""
    may_retry_refused: bool = False
    """A person asked for this reconcile by annotation."""
    may_refresh: bool = True
    """Refreshing the token did not fail a short time ago."""
    candidate_verify_token: str = field(default="", repr=False)
    """Taken where none is kept; made outside, so that planning stays a function of its facts."""

    @property
    def token(self) -> str | None:
        """The access token in use: the one in the Secret, or what it was refreshed to."""
        if not isinstance(self.credentials, Credentials):
            return None
        return self.access.token if self.is_refreshed and self.access else self.credentials.access_token

    @property
    def is_refreshed(self) -> bool:
        """Whether the token in use is one that the operator got."""
        if not isinstance(self.credentials, Credentials) or self.access is None:
            return False
        return self.access.source == digest(self.credentials.access_token)

    @property
    def checked_version(self) -> str:
        """The version of the credentials Secret that was last shown to Meta, whatever came of it."""
        return str((self.status.get("token") or {}).get("secretResourceVersion") or "")

    @property
    def is_accepted(self) -> bool:
        """Whether Meta accepted the credentials when they were last shown, and they are the same still."""
        if not self.secret_version or self.checked_version != self.secret_version:
            return False
        needed = (ConditionType.CREDENTIALS_VALID, ConditionType.TOKEN_VALID)
        return all(conditions.is_true(self.status, each) for each in needed)
