"""Decides from Meta's `health_status` whether the number can send and, if not, what a person must do.

The code has no side effects. Meta's own sentences are not passed on, because they can name a phone number.
Source: Meta's "Health status" (2025-10-22).
"""

from waypost.cloudapi.graph.numbers import HealthEntity, PhoneNumber
from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import Condition
from waypost.operator.number.status import remedies

_AVAILABLE = "AVAILABLE"
_BY_CODE = {
    141000: (Reason.NOT_CONNECTED, "The number is not connected."),
    141006: (Reason.PAYMENT_MISSING, remedies.PAYMENT),
    141010: (Reason.BUSINESS_NOT_VERIFIED, remedies.VERIFY_BUSINESS),
    131042: (Reason.PAYMENT_MISSING, remedies.PAYMENT),
    131037: (Reason.DISPLAY_NAME_NOT_APPROVED, remedies.DISPLAY_NAME),
}
"""Reason of the condition and remedy, by Meta's error code."""
_NAMES = {"PHONE_NUMBER": "number", "WABA": "WhatsApp account", "BUSINESS": "business portfolio", "APP": "app"}
_REMEDIES = {
    "PHONE_NUMBER": remedies.DISPLAY_NAME,
    "WABA": remedies.APPEAL,
    "BUSINESS": remedies.VERIFY_BUSINESS,
    "APP": remedies.APP_ALERTS,
}
"""Remedies by the kind of entity that holds the number back, for error codes that are not in `_BY_CODE`."""


def health(phone: PhoneNumber) -> Condition | None:
    """Returns the condition `CanSend`, or None if Meta says nothing about the number's health."""
    reported = phone.health_status
    if reported is None or not reported.can_send_message:
        return None
    found = [_explained(each) for each in reported.entities if each.can_send_message not in (_AVAILABLE, "")]
    if phone.name_status in ("DECLINED", "EXPIRED"):
        text = f"Meta reports the display name as {phone.name_status}. {remedies.DISPLAY_NAME}"
        found.append((Reason.DISPLAY_NAME_NOT_APPROVED, text))
    if reported.can_send_message == _AVAILABLE and not found:
        return Condition(ConditionType.CAN_SEND, ConditionStatus.TRUE, Reason.AVAILABLE, "Meta lets the number send.")
    if reported.can_send_message == "BLOCKED":
        status, summary = ConditionStatus.FALSE, "Meta does not let the number send."
    else:
        status, summary = ConditionStatus.TRUE, "Meta lets the number send within limits."
    message = " ".join([summary, *(text for _, text in found)])
    return Condition(ConditionType.CAN_SEND, status, _main_reason([reason for reason, _ in found]), message)


def _main_reason(reasons: list[str]) -> str:
    """Returns the first reason. Returns `NotConnected` only if there is no other reason.

    `NotConnected` comes last because the condition `Registered` already explains it. A person can do something
    about the other reasons here.
    """
    if not reasons:
        return Reason.LIMITED
    return next((each for each in reasons if each != Reason.NOT_CONNECTED), Reason.NOT_CONNECTED)


def _explained(entity: HealthEntity) -> tuple[str, str]:
    """Returns the reason and the text of the condition for an entity that keeps the number from sending."""
    for error in entity.errors:
        if error.error_code in _BY_CODE:
            return _BY_CODE[error.error_code]
    name = _NAMES.get(entity.entity_type, entity.entity_type.lower().replace("_", " ") or "entity")
    codes = ", ".join(str(each.error_code) for each in entity.errors)
    remedy = _REMEDIES.get(entity.entity_type, remedies.APPEAL)
    state = entity.can_send_message.title()
    return state, f"Meta reports the {name} as {state.lower()}{f' (code {codes})' if codes else ''}. {remedy}"
