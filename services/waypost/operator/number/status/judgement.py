"""From the same facts to the conditions that a user reads: what is so, and what a person must do. Pure.

A look at Meta that failed for a passing reason says nothing about the number: what was known before stands.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.cloudapi.graph.numbers import PhoneNumber, WebhookConfiguration
from waypost.operator.api import conditions
from waypost.operator.api.conditions import Condition, Status
from waypost.operator.number import registration
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.plan import CONNECTED, DAY_S, LONGEST_CALLBACK, REGISTRABLE, is_foreign
from waypost.operator.number.state import FIELDS, NEEDED_SCOPES, Desired, Observed, passes
from waypost.operator.number.status import remedies
from waypost.operator.number.status.health import health

WARN_DAYS = (14, 7, 3, 1)
"""A warning is given when the token has this many days left, if it could not be refreshed."""


@dataclass(frozen=True)
class Judged:
    """One condition. `needs_person`: it will not heal by itself."""

    condition: Condition
    needs_person: bool = False


def _judged(type_: str, status: Status, reason: str, message: str = "", *, person: bool = False) -> Judged:
    return Judged(Condition(type_, status, reason, message), person)


def judge(desired: Desired, observed: Observed, now: float) -> tuple[Judged, ...]:
    """All sides of the number, without the summary."""
    parts: list[Callable[[], Judged | None]] = [
        lambda: _credentials(observed),
        lambda: _token(desired, observed, now),
        lambda: _registered(observed, now),
        lambda: _subscribed(desired, observed),
        lambda: _webhook(desired, observed),
        lambda: _bot(desired, observed),
        lambda: _can_send(observed),
    ]
    return tuple(judged for part in parts if (judged := part()) is not None)


def _before(observed: Observed, type_: str, otherwise: str = "NotLookedAt", message: str = "") -> Judged:
    """What was known before, or that nothing is."""
    found = conditions.find(observed.status, type_)
    if found is None or found.get("status") not in ("True", "False", "Unknown"):
        return _judged(type_, "Unknown", otherwise, message)
    return _judged(type_, found["status"], str(found.get("reason") or otherwise), str(found.get("message") or ""))


def _away(observed: Observed, type_: str, error: Exception) -> Judged:
    return _before(observed, type_, "MetaUnavailable", f"Meta could not be asked: {error}")


def _credentials(observed: Observed) -> Judged:
    found = observed.credentials
    if isinstance(found, Unusable):
        return _judged("CredentialsValid", "False", found.reason, found.message, person=True)
    said = observed.meta.token if observed.meta else None
    if isinstance(said, GraphError):
        if passes(said):
            return _away(observed, "CredentialsValid", said)
        message = f"Meta refuses appId and appSecret ({said}); {remedies.APP_SECRET.format(app_id=found.app_id)}"
        return _judged("CredentialsValid", "False", "AppSecretRefused", message, person=True)
    if said is None:
        return _before(observed, "CredentialsValid")
    return _judged("CredentialsValid", "True", "Accepted", "Meta accepts the app id and app secret")


def _token(desired: Desired, observed: Observed, now: float) -> Judged:
    said = observed.meta.token if observed.meta else None
    if isinstance(observed.credentials, Unusable) or (isinstance(said, GraphError) and not passes(said)):
        return _judged("TokenValid", "Unknown", "NoCredentials", "cannot be checked without app id and app secret")
    if isinstance(said, GraphError):
        return _away(observed, "TokenValid", said)
    if said is None:
        return _before(observed, "TokenValid")
    if not said.is_valid:
        return _judged("TokenValid", "False", *_invalid_token(said), person=True)
    missing = [scope for scope in NEEDED_SCOPES if scope not in said.scopes]
    if missing:
        message = f"the token lacks the scope {' and '.join(missing)}; {remedies.NEW_TOKEN}"
        return _judged("TokenValid", "False", "MissingScope", message, person=True)
    for granted in said.granular_scopes:
        if granted.scope in NEEDED_SCOPES and granted.target_ids and desired.spec.waba_id not in granted.target_ids:
            message = f"the token does not cover WhatsApp account {desired.spec.waba_id}; {remedies.ASSIGN_ASSETS}"
            return _judged("TokenValid", "False", "AccountNotGranted", message, person=True)
    if not said.expires_at:
        return _judged("TokenValid", "True", "NeverExpires", "the token does not expire")
    days = days_left(said, now)
    until = conditions.timestamp(said.expires_at)[:10]
    if days > WARN_DAYS[0]:
        return _judged("TokenValid", "True", "Valid", f"the token is valid until {until}")
    message = f"the token expires in {days} {'day' if days == 1 else 'days'}, on {until}; {remedies.NEW_TOKEN}"
    if (refused := observed.failed.get("RefreshToken")) is not None:
        message = f"{message} (refreshing it failed: {refused})"
    return _judged("TokenValid", "True", "ExpiresSoon", message)


def _invalid_token(said: TokenDetails) -> tuple[str, str]:
    fault = said.error
    if fault is not None and fault.code == 100:
        return "TokenOfOtherApp", f"the token was issued for another app than appId; {remedies.NEW_TOKEN}"
    if fault is not None and fault.subcode == 463:
        return "TokenExpired", f"the token has expired; {remedies.NEW_TOKEN}"
    return "TokenRevoked", f"Meta says that the token is not valid (any more); {remedies.NEW_TOKEN}"


def days_left(said: TokenDetails, now: float) -> int:
    """Whole days until the token lapses, begun ones counted."""
    return max(0, math.ceil((said.expires_at - now) / DAY_S))


def _unreadable(observed: Observed, type_: str, error: GraphError, what: str) -> Judged:
    """The number or account cannot be read with a token that is valid."""
    if passes(error):
        return _away(observed, type_, error)
    return _judged(
        type_, "False", "NoAccess", f"the token may not read {what} ({error}); {remedies.ASSIGN_ASSETS}", person=True
    )


def _registered(observed: Observed, now: float) -> Judged:
    phone = observed.meta.number if observed.meta else None
    if isinstance(phone, GraphError):
        return _unreadable(observed, "Registered", phone, "the phone number; spec.phoneNumberId may be wrong")
    if phone is None or not phone.status:
        return _before(observed, "Registered")
    if phone.status in CONNECTED:
        return _judged("Registered", "True", "Connected", f"Meta says {phone.status}")
    if phone.status not in REGISTRABLE:
        reason = phone.status.title().replace("_", "")
        return _judged("Registered", "False", reason, f"Meta says {phone.status}; {remedies.APPEAL}", person=True)
    if phone.code_verification_status not in ("VERIFIED", ""):
        return _judged("Registered", "False", "NumberNotVerified", remedies.VERIFY_NUMBER, person=True)
    if not isinstance(observed.credentials, Credentials) or observed.credentials.pin is None:
        return _judged(
            "Registered", "False", "PinMissing", f"the number is not connected; {remedies.SET_PIN}", person=True
        )
    return _registering(observed, now)


def _registering(observed: Observed, now: float) -> Judged:
    calls = registration.read(observed.status)
    if calls.is_refused(observed.secret_version) and calls.refused_code is not None:
        return _judged("Registered", "False", *_refused_registration(calls.refused_code), person=True)
    if wait_s := calls.wait_s(now):
        again = conditions.timestamp(now + wait_s)
        message = f"the number is not connected; Meta allows few calls of register, the next one is at {again}"
        return _judged("Registered", "False", "WaitingToRegister", message)
    failed = observed.failed.get("Register")
    return _judged("Registered", "False", "Registering", f"registering failed: {failed}" if failed else "")


def _refused_registration(code: int) -> tuple[str, str]:
    said = f"Meta refused to register the number (code {code})"
    if code in (133005, 133008, 133009):
        return "PinRefused", f"{said}: the PIN is wrong or was tried too often; {remedies.RIGHT_PIN}"
    if code in (133006, 136024, 136025):
        return "NumberNotVerified", f"{said}; {remedies.VERIFY_NUMBER}"
    if code == 133016:
        return (
            "TooManyRegistrations",
            f"{said}: more than 10 calls in 72 hours; wait 72 hours, then {remedies.SET_PIN}",
        )
    if code == 131042:
        return "PaymentMissing", f"{said}; {remedies.PAYMENT}"
    if code in (131037, 131045):
        return "RegistrationRefused", f"{said}; {remedies.DISPLAY_NAME}; then request a reconcile by annotation"
    return "RegistrationRefused", f"{said}; {remedies.APPEAL}; then request a reconcile by annotation"


def _subscribed(desired: Desired, observed: Observed) -> Judged:
    account = observed.meta.account if observed.meta else None
    if isinstance(account, GraphError):
        return _unreadable(observed, "Subscribed", account, "the WhatsApp account; spec.wabaId may be wrong")
    if account is None or not isinstance(observed.credentials, Credentials):
        return _before(observed, "Subscribed")
    phone = observed.meta.number if observed.meta else None
    entities = phone.health_status.entities if isinstance(phone, PhoneNumber) and phone.health_status else []
    owners = {each.id for each in entities if each.entity_type == "WABA" and each.id}
    if owners and desired.spec.waba_id not in owners:
        message = f"the number belongs to WhatsApp account {owners.pop()}, not to spec.wabaId; create the object anew"
        return _judged("Subscribed", "False", "WrongAccount", message, person=True)
    if any(each.id == observed.credentials.app_id for each in account):
        return _judged("Subscribed", "True", "Subscribed", "the app gets the account's deliveries")
    failed = observed.failed.get("SubscribeApp")
    if failed is None:
        return _judged("Subscribed", "False", "Subscribing")
    return _refusal("Subscribed", "SubscriptionRefused", failed, "the app could not be subscribed to the account")


def _refusal(type_: str, reason: str, error: Exception, what: str) -> Judged:
    details = f": {error.details}" if isinstance(error, GraphRefused) and error.details else ""
    return _judged(type_, "False", reason, f"{what}: {error}{details}", person=not passes(error))


def _webhook(desired: Desired, observed: Observed) -> Judged:
    if len(desired.own_url) > LONGEST_CALLBACK and desired.spec.webhook.scope == "Number":
        message = f"the callback address has more than {LONGEST_CALLBACK} characters; choose a shorter name or scope"
        return _judged("WebhookVerified", "False", "AddressTooLong", message, person=True)
    meta = observed.meta
    phone = meta.number if meta else None
    if meta is None or not isinstance(phone, PhoneNumber) or not isinstance(observed.credentials, Credentials):
        return _before(observed, "WebhookVerified")
    for name, reason, what in (
        ("AwaitRoute", "WaitingForWebhook", "the webhook does not serve the callback yet"),
        ("SetAppCallback", "CallbackRefused", "Meta did not take the app's callback"),
        ("SetAccountCallback", "CallbackRefused", "Meta did not take the account's callback"),
        ("SetNumberCallback", "CallbackRefused", "Meta did not take the number's callback"),
    ):
        if (failed := observed.failed.get(name)) is not None:
            return _refusal("WebhookVerified", reason, failed, what)
    levels = phone.webhook_configuration or WebhookConfiguration()
    url = desired.callback_url(observed.credentials.app_id)
    if (levels.phone_number or levels.whatsapp_business_account or levels.application) != url:
        return _judged("WebhookVerified", "False", "Registering", "the callback is not registered yet")
    app = meta.app_subscription
    missing = sorted(set(FIELDS[:1]) - {each.name for each in app.fields}) if app else []
    if missing:
        message = f"the app does not subscribe to {', '.join(missing)}; webhook.scope App takes its callback over"
        return _judged("WebhookVerified", "False", "FieldsMissing", message, person=True)
    if app and is_foreign(app.callback_url, observed.credentials.app_id):
        message = "Meta delivers messages here; events of account and templates go to the app's callback, not ours"
        return _judged("WebhookVerified", "True", "AppCallbackElsewhere", message)
    return _judged("WebhookVerified", "True", "Verified", f"Meta delivers to {url}")


def _bot(desired: Desired, observed: Observed) -> Judged | None:
    if (plugin := desired.refused_plugin) is not None:
        message = f"the platform does not allow the plugin {plugin}, so it does not answer; {remedies.ALLOW_PLUGIN}"
        return _judged("BotLoaded", "False", "PluginNotAllowed", message, person=True)
    if desired.spec.bot is None or desired.spec.bot.config_map_ref is None:
        return None
    if observed.script.problem is not None:
        return _judged("BotLoaded", "False", *observed.script.problem, person=True)
    return _judged("BotLoaded", "True", "Loaded", "the bot's script can be used")


def _can_send(observed: Observed) -> Judged | None:
    phone = observed.meta.number if observed.meta else None
    if not isinstance(phone, PhoneNumber):
        return _before(observed, "CanSend") if conditions.find(observed.status, "CanSend") else None
    condition = health(phone)
    return Judged(condition) if condition else None
