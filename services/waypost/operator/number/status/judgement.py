"""Decides the conditions that a user reads: what the state is, and what a person must do.

The conditions follow from what was desired and what was observed. The code has no side effects. Sometimes
Meta could not be asked for a reason that ends by itself. Such a failure says nothing about the number, so the
last known condition stays for a while. After that the condition becomes `Unknown` and states the time of the
last answer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.cloudapi.graph.numbers import PhoneNumber, WebhookConfiguration
from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api import conditions
from waypost.operator.api.conditions import Condition
from waypost.operator.bots import verdict
from waypost.operator.cluster.registry_secrets import NoRoom
from waypost.operator.number import actions as act
from waypost.operator.number import registration
from waypost.operator.number.actions import Action
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.plan import CONNECTED, DAY_S, LONGEST_CALLBACK, REGISTRABLE, is_foreign
from waypost.operator.number.state import (
    FIELDS,
    NEEDED_SCOPES,
    Desired,
    Observed,
    Question,
    account_of,
    is_transient,
)
from waypost.operator.number.status import remedies
from waypost.operator.number.status.health import health

WARN_DAYS = (14, 7, 3, 1)
"""Numbers of days before the token's expiry at which a warning is given, if the token could not be refreshed."""


@dataclass(frozen=True)
class Judged:
    """A condition, and whether only a person can change it."""

    condition: Condition
    needs_person: bool = False


def _true(type_: ConditionType, reason: str, message: str) -> Judged:
    return Judged(Condition(type_, ConditionStatus.TRUE, reason, message))


def _false(type_: ConditionType, reason: str, message: str = "", *, needs_person: bool = False) -> Judged:
    return Judged(Condition(type_, ConditionStatus.FALSE, reason, message), needs_person)


def _unknown(type_: ConditionType, reason: str, message: str = "") -> Judged:
    return Judged(Condition(type_, ConditionStatus.UNKNOWN, reason, message))


def judge(desired: Desired, observed: Observed, now: float) -> tuple[Judged, ...]:
    """Returns the conditions of all aspects of the number, without the summary."""
    if observed.holder is not None:
        return _without_number(desired, observed, now)
    aspects: list[Callable[[], Judged | None]] = [
        lambda: _credentials(observed),
        lambda: _token(desired, observed, now),
        lambda: _registered(observed, now),
        lambda: _subscribed(desired, observed),
        lambda: _webhook(desired, observed),
        lambda: _bot(desired, observed),
        lambda: _bot_healthy(desired, observed),
        lambda: _quota(observed),
        lambda: _can_send(observed),
    ]
    return tuple(judged for aspect in aspects if (judged := aspect()) is not None)


def _without_number(desired: Desired, observed: Observed, now: float) -> tuple[Judged, ...]:
    """Returns the conditions of an object whose phone number another object holds.

    What Meta says about the number concerns only the object that holds it. No condition of this object may rely
    on it.
    """
    message = "Another object holds the phone number."
    of_number = (ConditionType.REGISTERED, ConditionType.SUBSCRIBED, ConditionType.WEBHOOK_VERIFIED)
    unknown = (_unknown(each, Reason.NOT_LOOKED_AT, message) for each in of_number)
    bot = _bot(desired, observed)
    return (_credentials(observed), _token(desired, observed, now), *unknown, *((bot,) if bot else ()))


_QUESTIONS = {
    ConditionType.CREDENTIALS_VALID: Question.TOKEN,
    ConditionType.TOKEN_VALID: Question.TOKEN,
    ConditionType.REGISTERED: Question.NUMBER,
    ConditionType.SUBSCRIBED: Question.ACCOUNT,
    ConditionType.WEBHOOK_VERIFIED: Question.NUMBER,
    ConditionType.CAN_SEND: Question.NUMBER,
}
"""The question whose answer decides each condition."""


def _last_known(
    observed: Observed,
    type_: ConditionType,
    otherwise: Reason = Reason.NOT_LOOKED_AT,
    message: str = "",
    *,
    error: Exception | None = None,
) -> Judged:
    """Returns the condition in the current status.

    If there is no such condition, returns the condition `Unknown` with the given reason and message. If Meta has
    not answered for long, the condition is `Unknown`, too. `error` is the reason why Meta did not answer now.
    """
    found = conditions.find(observed.status, type_)
    if found is None or found.get("status") not in tuple(ConditionStatus):
        return _unknown(type_, otherwise, message)
    status, reason = conditions.status_of(found), str(found.get("reason") or otherwise)
    last_answer_at = observed.stale.get(_QUESTIONS[type_])
    if last_answer_at is not None and status is not ConditionStatus.UNKNOWN:
        why = f" ({error})" if error else ""
        text = f"Meta has not answered about this since {conditions.timestamp(last_answer_at)}{why}. "
        return _unknown(type_, Reason.NOT_LOOKED_AT, f"{text}The condition was {status} ({reason}) then.")
    return Judged(Condition(type_, status, reason, str(found.get("message") or "")))


def _unavailable(observed: Observed, type_: ConditionType, error: Exception) -> Judged:
    message = f"Meta could not be asked ({error}). The operator asks again by itself."
    return _last_known(observed, type_, Reason.META_UNAVAILABLE, message, error=error)


def _credentials(observed: Observed) -> Judged:
    type_ = ConditionType.CREDENTIALS_VALID
    found = observed.credentials
    if isinstance(found, Unusable):
        return _false(type_, found.reason, found.message, needs_person=True)
    answer = observed.meta.token if observed.meta else None
    if isinstance(answer, GraphError):
        if is_transient(answer):
            return _unavailable(observed, type_, answer)
        message = f"Meta refuses appId and appSecret ({answer}). {remedies.APP_SECRET.format(app_id=found.app_id)}"
        return _false(type_, Reason.APP_SECRET_REFUSED, message, needs_person=True)
    if answer is None:
        return _last_known(observed, type_)
    return _true(type_, Reason.ACCEPTED, "Meta accepts the app id and the app secret.")


def _token(desired: Desired, observed: Observed, now: float) -> Judged:
    type_ = ConditionType.TOKEN_VALID
    answer = observed.meta.token if observed.meta else None
    if isinstance(observed.credentials, Unusable) or (isinstance(answer, GraphError) and not is_transient(answer)):
        message = "The token cannot be checked without a valid app id and app secret."
        return _unknown(type_, Reason.NO_CREDENTIALS, message)
    if isinstance(answer, GraphError):
        return _unavailable(observed, type_, answer)
    if answer is None:
        return _last_known(observed, type_)
    if not answer.is_valid:
        return _false(type_, *_invalid_token(answer), needs_person=True)
    missing = [scope for scope in NEEDED_SCOPES if scope not in answer.scopes]
    if missing:
        message = f"The token lacks the scope {' and '.join(missing)}. {remedies.NEW_TOKEN}"
        return _false(type_, Reason.MISSING_SCOPE, message, needs_person=True)
    for granted in answer.granular_scopes:
        if granted.scope in NEEDED_SCOPES and granted.target_ids and desired.spec.waba_id not in granted.target_ids:
            message = f"The token does not cover the WhatsApp account {desired.spec.waba_id}. {remedies.ASSIGN_ASSETS}"
            return _false(type_, Reason.ACCOUNT_NOT_GRANTED, message, needs_person=True)
    if not answer.expires_at:
        return _true(type_, Reason.NEVER_EXPIRES, "The token does not expire.")
    days = days_left(answer, now)
    until = conditions.timestamp(answer.expires_at)[:10]
    if days > WARN_DAYS[0]:
        return _true(type_, Reason.VALID, f"The token is valid until {until}.")
    message = f"The token expires in {days} {'day' if days == 1 else 'days'}, on {until}. {remedies.NEW_TOKEN}"
    if (refused := observed.failed.get(act.RefreshToken)) is not None:
        message = f"{message} The operator could not refresh it ({refused})."
    return _true(type_, Reason.EXPIRES_SOON, message)


def _invalid_token(answer: TokenDetails) -> tuple[Reason, str]:
    fault = answer.error
    if fault is not None and fault.code == 100:
        return Reason.TOKEN_OF_OTHER_APP, f"The token was issued for another app than appId. {remedies.NEW_TOKEN}"
    if fault is not None and fault.subcode == 463:
        return Reason.TOKEN_EXPIRED, f"The token has expired. {remedies.NEW_TOKEN}"
    return Reason.TOKEN_REVOKED, f"Meta says that the token is not valid, or no longer. {remedies.NEW_TOKEN}"


def days_left(answer: TokenDetails, now: float) -> int:
    """Returns the number of days until the token expires, rounded up."""
    return max(0, math.ceil((answer.expires_at - now) / DAY_S))


def _unreadable(observed: Observed, type_: ConditionType, error: GraphError, what: str, field: str) -> Judged:
    """Returns the condition for a number or an account that cannot be read although the token is valid."""
    if is_transient(error):
        return _unavailable(observed, type_, error)
    message = f"The token may not read the {what} ({error}). Check {field}. If it is right: {remedies.ASSIGN_ASSETS}"
    return _false(type_, Reason.NO_ACCESS, message, needs_person=True)


def _registered(observed: Observed, now: float) -> Judged:
    type_ = ConditionType.REGISTERED
    phone = observed.meta.number if observed.meta else None
    if isinstance(phone, GraphError):
        return _unreadable(observed, type_, phone, "phone number", "spec.phoneNumberId")
    if phone is None or not phone.status:
        return _last_known(observed, type_)
    if phone.status in CONNECTED:
        return _true(type_, Reason.CONNECTED, f"Meta reports the number as {phone.status}.")
    if phone.status not in REGISTRABLE:
        reason = phone.status.title().replace("_", "")
        message = f"Meta reports the number as {phone.status}. {remedies.APPEAL}"
        return _false(type_, reason, message, needs_person=True)
    if phone.code_verification_status not in ("VERIFIED", ""):
        return _false(type_, Reason.NUMBER_NOT_VERIFIED, remedies.VERIFY_NUMBER, needs_person=True)
    if not isinstance(observed.credentials, Credentials) or observed.credentials.pin is None:
        message = f"The number is not connected, and the Secret has no pin. {remedies.SET_PIN}"
        return _false(type_, Reason.PIN_MISSING, message, needs_person=True)
    return _registering(observed, now)


def _registering(observed: Observed, now: float) -> Judged:
    type_ = ConditionType.REGISTERED
    calls = registration.read(observed.status)
    if calls.is_refused(observed.secret_version) and calls.refused_code is not None:
        return _false(type_, *_refused_registration(calls.refused_code), needs_person=True)
    if wait_s := calls.wait_s(now):
        next_call = conditions.timestamp(now + wait_s)
        message = (
            "The number is not connected. Meta allows few calls that register a number, so the operator makes the next "
            f"one at {next_call}."
        )
        return _false(type_, Reason.WAITING_TO_REGISTER, message)
    failed = observed.failed.get(act.Register)
    message = f"The number could not be registered ({failed}). The operator tries again by itself." if failed else ""
    return _false(type_, Reason.REGISTERING, message)


def _refused_registration(code: int) -> tuple[Reason, str]:
    refusal = f"Meta refused to register the number (code {code})"
    if code in (133005, 133008, 133009):
        return Reason.PIN_REFUSED, f"{refusal}: the PIN is wrong or was tried too often. {remedies.RIGHT_PIN}"
    if code in (133006, 136024, 136025):
        return Reason.NUMBER_NOT_VERIFIED, f"{refusal}. {remedies.VERIFY_NUMBER}"
    if code == 133016:
        message = f"{refusal}: more than 10 calls in 72 hours. Wait 72 hours. {remedies.SET_PIN}"
        return Reason.TOO_MANY_REGISTRATIONS, message
    if code == 131042:
        return Reason.PAYMENT_MISSING, f"{refusal}. {remedies.PAYMENT}"
    remedy = remedies.DISPLAY_NAME if code in (131037, 131045) else remedies.APPEAL
    return Reason.REGISTRATION_REFUSED, f"{refusal}. {remedy} {remedies.REGISTER_AGAIN}"


def _subscribed(desired: Desired, observed: Observed) -> Judged:
    type_ = ConditionType.SUBSCRIBED
    phone = observed.meta.number if observed.meta else None
    owner = account_of(phone) if isinstance(phone, PhoneNumber) else None
    if owner not in (None, desired.spec.waba_id):
        message = (
            f"The number belongs to the WhatsApp account {owner}, not to spec.wabaId. "
            "Delete this object and create it with that account."
        )
        return _false(type_, Reason.WRONG_ACCOUNT, message, needs_person=True)
    account = observed.meta.account if observed.meta else None
    if isinstance(account, GraphError):
        return _unreadable(observed, type_, account, "WhatsApp account", "spec.wabaId")
    if account is None or not isinstance(observed.credentials, Credentials):
        return _last_known(observed, type_)
    if any(each.id == observed.credentials.app_id for each in account):
        return _true(type_, Reason.SUBSCRIBED, "The app receives the deliveries of the WhatsApp account.")
    failed = observed.failed.get(act.SubscribeApp)
    if failed is None:
        return _false(type_, Reason.SUBSCRIBING)
    what = "The app could not be subscribed to the WhatsApp account"
    return _refused(type_, Reason.SUBSCRIPTION_REFUSED, failed, what)


def _refused(type_: ConditionType, reason: Reason, error: Exception, what: str) -> Judged:
    details = f": {error.details}" if isinstance(error, GraphRefused) and error.details else ""
    if is_transient(error):
        return _false(type_, reason, f"{what} ({error}{details}). The operator tries again by itself.")
    return _false(type_, reason, f"{what} ({error}{details}).", needs_person=True)


_CALLBACK_FAILURES: tuple[tuple[type[Action], Reason, str], ...] = (
    (act.AwaitRoute, Reason.WAITING_FOR_WEBHOOK, "The webhook does not serve the callback yet"),
    (act.SetAppCallback, Reason.CALLBACK_REFUSED, "Meta did not accept the callback of the app"),
    (act.SetAccountCallback, Reason.CALLBACK_REFUSED, "Meta did not accept the callback of the WhatsApp account"),
    (act.SetNumberCallback, Reason.CALLBACK_REFUSED, "Meta did not accept the callback of the number"),
)


def _webhook(desired: Desired, observed: Observed) -> Judged:
    type_ = ConditionType.WEBHOOK_VERIFIED
    if len(desired.own_url) > LONGEST_CALLBACK and desired.spec.webhook.scope == "Number":
        message = (
            f"The callback address is longer than the {LONGEST_CALLBACK} characters that Meta allows. "
            "Create the object with a shorter name, or set spec.webhook.scope to App."
        )
        return _false(type_, Reason.ADDRESS_TOO_LONG, message, needs_person=True)
    meta = observed.meta
    phone = meta.number if meta else None
    if meta is None or not isinstance(phone, PhoneNumber) or not isinstance(observed.credentials, Credentials):
        return _last_known(observed, type_, error=phone if isinstance(phone, GraphError) else None)
    for action, reason, what in _CALLBACK_FAILURES:
        if (failed := observed.failed.get(action)) is not None:
            return _refused(type_, reason, failed, what)
    levels = phone.webhook_configuration or WebhookConfiguration()
    url = desired.callback_url(observed.credentials.app_id)
    if (levels.phone_number or levels.whatsapp_business_account or levels.application) != url:
        return _false(type_, Reason.REGISTERING, "The callback is not registered at Meta yet.")
    app = meta.app_subscription
    missing = sorted(set(FIELDS[:1]) - {each.name for each in app.fields}) if app else []
    if missing:
        message = (
            f"The app does not subscribe to {', '.join(missing)}. Subscribe it in the App dashboard, or set "
            "spec.webhook.scope to App, so that the operator takes over the app's callback."
        )
        return _false(type_, Reason.FIELDS_MISSING, message, needs_person=True)
    if app and is_foreign(app.callback_url, observed.credentials.app_id):
        message = (
            "Meta delivers messages to Waypost. Events about the account and its templates go to the app's callback, "
            "which belongs to another system."
        )
        return _true(type_, Reason.APP_CALLBACK_ELSEWHERE, message)
    return _true(type_, Reason.VERIFIED, f"Meta delivers to {url}.")


def _bot(desired: Desired, observed: Observed) -> Judged | None:
    type_ = ConditionType.BOT_LOADED
    if (plugin := desired.refused_plugin) is not None:
        message = f"The platform does not allow the plugin {plugin}, so it does not answer. {remedies.ALLOW_PLUGIN}"
        return _false(type_, Reason.PLUGIN_NOT_ALLOWED, message, needs_person=True)
    if desired.spec.bot is None or desired.spec.bot.config_map_ref is None:
        return None
    if observed.script.problem is not None:
        return _false(type_, *observed.script.problem, needs_person=True)
    if observed.no_room is not None:
        message = f"The script is valid, but the one before stays in use. {observed.no_room.message}"
        return _false(type_, observed.no_room.reason, message, needs_person=True)
    return _true(type_, Reason.LOADED, "The script of the bot is valid.")


def _bot_healthy(desired: Desired, observed: Observed) -> Judged | None:
    if desired.spec.bot is None:
        return None
    found = verdict.condition(observed.bot_health, observed.status)
    return Judged(found) if found else None


def _quota(observed: Observed) -> Judged | None:
    """Returns the condition that is true while the namespace's quota keeps a number from publishing its changes.

    A namespace without a quota has no such condition.
    """
    type_, refused = ConditionType.QUOTA_EXCEEDED, observed.failed.get(act.Publish, observed.no_room)
    if isinstance(refused, NoRoom) and refused.reason == Reason.QUOTA_EXCEEDED:
        return _true(type_, Reason.REGISTRY_BYTES, refused.message)
    if observed.quota is None:
        return None
    # In steps, since the status of each number of the namespace is written when the message changes.
    share = 100 * observed.quota.used // observed.quota.quota // 10 * 10
    message = f"The namespace uses about {share} % of its quota of {observed.quota.quota:,} bytes of the registry."
    return _false(type_, Reason.WITHIN_QUOTA, message)


def _can_send(observed: Observed) -> Judged | None:
    type_ = ConditionType.CAN_SEND
    phone = observed.meta.number if observed.meta else None
    if not isinstance(phone, PhoneNumber):
        error = phone if isinstance(phone, GraphError) else None
        return _last_known(observed, type_, error=error) if conditions.find(observed.status, type_) else None
    condition = health(phone)
    return Judged(condition) if condition else None
