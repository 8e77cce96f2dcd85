"""Composes the status of a number. The code has no side effects.

The same facts give the same status. An unchanged status is not written again.
"""

import re
import zlib
from collections.abc import Mapping
from typing import Any

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.errors import GraphError
from waypost.cloudapi.graph.numbers import PhoneNumber
from waypost.operator.api.conditions import Condition, merged, timestamp
from waypost.operator.engine.outcome import Outcome
from waypost.operator.number.credentials import Credentials
from waypost.operator.number.operator_secrets import number_secret_name
from waypost.operator.number.registration import Registration
from waypost.operator.number.state import Desired, Observed, is_transient
from waypost.operator.number.status.judgement import WARN_DAYS, days_left

FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 600.0
_CARRIED = (
    "phone",
    "token",
    "webhook",
    "tokenSecretRef",
    "registryShard",
    "unansweredSince",
    "lastHandledReconcileAt",
)


def status(
    before: Mapping[str, Any],
    conditions: tuple[Condition, ...],
    *,
    generation: int,
    now: float,
    details: Mapping[str, Any] | None = None,
    failures: int = 0,
    next_attempt: float | None = None,
    registration: Registration | None = None,
) -> dict[str, Any]:
    """Returns the whole status, with the given conditions.

    Each other field has its new value or, if there is no new value, the value in `before`.
    """
    whole: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": merged(before.get("conditions"), conditions, generation=generation, now=now),
    }
    for key in _CARRIED:
        value = (details or {}).get(key, before.get(key))
        if value or value == 0:
            whole[key] = value
    calls = registration.as_status() if registration else before.get("registration")
    if calls:
        whole["registration"] = calls
    if failures:
        whole["failureCount"] = failures
    if next_attempt is not None:
        whole["nextAttemptTime"] = timestamp(next_attempt)
    return whole


def details(desired: Desired, observed: Observed, release_namespace: str, now: float) -> dict[str, Any]:
    """Returns the status fields, except conditions, for which this reconcile found a value."""
    found: dict[str, Any] = {}
    meta, credentials = observed.meta, observed.credentials
    if meta is not None and (token := _token(observed, now)) is not None:
        found["token"] = token
    if meta is not None and isinstance(meta.number, PhoneNumber):
        found["phone"] = _phone(meta.number)
    if isinstance(credentials, Credentials):
        found["webhook"] = {"url": desired.callback_url(credentials.app_id), "scope": desired.spec.webhook.scope}
    found["registryShard"] = observed.published.shard
    if observed.secrets is not None:
        name = number_secret_name(desired.namespace, desired.name)
        found["tokenSecretRef"] = {"namespace": release_namespace, "name": name}
    return found


def _token(observed: Observed, now: float) -> dict[str, Any] | None:
    answer = observed.meta.token if observed.meta else None
    if answer is None or (isinstance(answer, GraphError) and is_transient(answer)):
        return None
    token: dict[str, Any] = {
        "source": "Refreshed" if observed.is_refreshed else "Secret",
        "secretResourceVersion": observed.secret_version,
    }
    if isinstance(answer, TokenDetails) and answer.expires_at:
        token["expiresAt"] = timestamp(answer.expires_at)
        if (warned := warned_days(answer, now)) is not None:
            token["warnedDays"] = warned
    return token


def warned_days(answer: TokenDetails, now: float) -> int | None:
    """Returns which warning about the token's expiry is due, as a number of days before the expiry.

    The result is 14, 7, 3 or 1. The result is None if no warning is due yet.
    """
    if not answer.is_valid or not answer.expires_at:
        return None
    remaining = days_left(answer, now)
    return min((days for days in WARN_DAYS if remaining <= days), default=None)


def _phone(number: PhoneNumber) -> dict[str, Any]:
    digits = re.sub(r"\D", "", number.display_phone_number)
    values = {
        # Two digits are enough for people who know their numbers, and are no personal data.
        "ending": digits[-2:],
        "verifiedName": number.verified_name[:128],
        "connection": number.status[:32],
        "quality": number.quality_rating[:32],
        "throughput": (number.throughput.level if number.throughput else "")[:32],
        "messagingLimit": number.whatsapp_business_manager_messaging_limit[:64],
        "canSend": (number.health_status.can_send_message if number.health_status else "")[:32],
    }
    return {key: value for key, value in values.items() if value}


def retry_s(outcome: Outcome, failures: int, uid: str) -> float | None:
    """Returns in how many seconds to try again. Returns None if the usual resync is soon enough.

    The time varies from object to object. Objects that failed together are therefore not all tried at the same
    time.
    """
    if outcome is not Outcome.FAILED:
        return None
    base: float = min(FIRST_RETRY_S * 2 ** min(max(failures - 1, 0), 16), LONGEST_RETRY_S)
    return base * (0.8 + 0.4 * fraction(f"{uid}/{failures}"))


def fraction(text: str) -> float:
    """Returns a number in [0, 1) that is always the same for the same text."""
    return zlib.crc32(text.encode()) / 2**32
