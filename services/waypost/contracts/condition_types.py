"""Types, statuses and reasons of the conditions of `WhatsAppNumber` and `BotSchedule`.

Scripts, alerts and documents rely on these words, so none of them may change. The value of each member is its
name in CamelCase.
"""

from enum import StrEnum


class ConditionStatus(StrEnum):
    """Values of a condition's `status`, as Kubernetes defines them."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """Types of conditions. Each type names the aspect of an object that the condition describes.

    A schedule has only the conditions `Ready`, `Reconciling` and `Stalled`.
    """

    READY = "Ready"
    """Summary of all other conditions of the object."""
    RECONCILING = "Reconciling"
    """True while the operator continues to work on the object without a person's help."""
    STALLED = "Stalled"
    """True while a person must act."""

    CREDENTIALS_VALID = "CredentialsValid"
    TOKEN_VALID = "TokenValid"  # noqa: S105 - the name of a condition
    REGISTERED = "Registered"
    SUBSCRIBED = "Subscribed"
    WEBHOOK_VERIFIED = "WebhookVerified"
    BOT_LOADED = "BotLoaded"
    CAN_SEND = "CanSend"
    BOT_HEALTHY = "BotHealthy"
    """What workers report about the turns of the bot. It never changes `Ready`."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """True while a quota of the namespace keeps back a part of what the object asks for."""


class Reason(StrEnum):
    """Reasons of conditions and of Kubernetes Events.

    For the conditions `Registered` and `CanSend`, the reason may also be a state at Meta, for example `Banned` or
    `Limited`.
    """

    # Summary, of both kinds
    SUSPENDED = "Suspended"
    INVALID_SPEC = "InvalidSpec"
    NOT_RECONCILING = "NotReconciling"
    NOT_STALLED = "NotStalled"

    # Summary of a number
    RECONCILING = "Reconciling"
    """The number is being reconciled for the first time."""
    AS_DESIRED = "AsDesired"
    CONFLICT = "Conflict"
    """Another object holds the phone number. As the reason of an Event: another object claims it, too."""
    NAMESPACE_TAKEN = "NamespaceTaken"
    PUBLISH_FAILED = "PublishFailed"
    ACTION_FAILED = "ActionFailed"

    # Any aspect of a number
    NOT_LOOKED_AT = "NotLookedAt"
    """Meta was not asked yet, or has not answered for long; the message then gives the time of its last answer."""
    META_UNAVAILABLE = "MetaUnavailable"
    NO_ACCESS = "NoAccess"
    """The token may not read the number or the account."""

    # CredentialsValid
    ACCEPTED = "Accepted"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, as are the next ones
    SECRET_NOT_OPTED_IN = "SecretNotOptedIn"  # noqa: S105
    SECRET_INVALID = "SecretInvalid"  # noqa: S105
    APP_SECRET_REFUSED = "AppSecretRefused"  # noqa: S105

    # TokenValid
    VALID = "Valid"
    NEVER_EXPIRES = "NeverExpires"
    EXPIRES_SOON = "ExpiresSoon"
    NO_CREDENTIALS = "NoCredentials"
    MISSING_SCOPE = "MissingScope"
    ACCOUNT_NOT_GRANTED = "AccountNotGranted"
    TOKEN_EXPIRED = "TokenExpired"  # noqa: S105
    TOKEN_REVOKED = "TokenRevoked"  # noqa: S105
    TOKEN_OF_OTHER_APP = "TokenOfOtherApp"  # noqa: S105

    # Registered
    CONNECTED = "Connected"
    REGISTERING = "Registering"
    """The number is being connected at Meta or, in the condition `WebhookVerified`, its callback is being
    registered."""
    WAITING_TO_REGISTER = "WaitingToRegister"
    PIN_MISSING = "PinMissing"
    PIN_REFUSED = "PinRefused"
    NUMBER_NOT_VERIFIED = "NumberNotVerified"
    TOO_MANY_REGISTRATIONS = "TooManyRegistrations"
    REGISTRATION_REFUSED = "RegistrationRefused"

    # Subscribed
    SUBSCRIBED = "Subscribed"
    SUBSCRIBING = "Subscribing"
    SUBSCRIPTION_REFUSED = "SubscriptionRefused"
    WRONG_ACCOUNT = "WrongAccount"

    # WebhookVerified
    VERIFIED = "Verified"
    APP_CALLBACK_ELSEWHERE = "AppCallbackElsewhere"
    WAITING_FOR_WEBHOOK = "WaitingForWebhook"
    CALLBACK_REFUSED = "CallbackRefused"
    ADDRESS_TOO_LONG = "AddressTooLong"
    FIELDS_MISSING = "FieldsMissing"

    # BotLoaded
    LOADED = "Loaded"
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    SCRIPT_MISSING = "ScriptMissing"
    SCRIPT_INVALID = "ScriptInvalid"
    PLUGIN_NOT_ALLOWED = "PluginNotAllowed"

    # BotHealthy; PluginNotAllowed is a reason of it, too
    ANSWERS = "Answers"
    PLUGIN_NOT_LOADED = "PluginNotLoaded"
    SCRIPT_REFUSED = "ScriptRefused"
    TURNS_FAIL = "TurnsFail"
    NOT_TRIED = "NotTried"
    """No worker has needed the bot yet, or too few turns have failed to blame the bot."""
    WORKERS_NOT_ASKED = "WorkersNotAsked"
    """No worker has answered the operator."""

    # QuotaExceeded
    WITHIN_QUOTA = "WithinQuota"
    REGISTRY_BYTES = "RegistryBytes"

    # BotLoaded, and summary of a number
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace's quota of the registry does not allow the number, or its new script."""
    REGISTRY_FULL = "RegistryFull"
    """No Secret of the registry has room for the number, or for its new script."""

    # CanSend
    AVAILABLE = "Available"
    LIMITED = "Limited"
    NOT_CONNECTED = "NotConnected"
    PAYMENT_MISSING = "PaymentMissing"
    BUSINESS_NOT_VERIFIED = "BusinessNotVerified"
    DISPLAY_NAME_NOT_APPROVED = "DisplayNameNotApproved"

    # Events only
    TOKEN_EXPIRES = "TokenExpires"  # noqa: S105
    LEFT_AT_META = "LeftAtMeta"
    """The object was deleted, but something that belongs to it could not be removed at Meta."""

    # Ready of a schedule
    SCHEDULED = "Scheduled"
    NOT_SUPPORTED = "NotSupported"
    NUMBER_NOT_FOUND = "NumberNotFound"
    NUMBER_NOT_READY = "NumberNotReady"
    NUMBER_CONFLICT = "NumberConflict"
    INVALID_TIME_ZONE = "InvalidTimeZone"
    INVALID_SCHEDULE = "InvalidSchedule"
    CRON_JOB_INVALID = "CronJobInvalid"
    CRON_JOB_REFUSED = "CronJobRefused"
