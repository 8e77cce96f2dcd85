"""Whether Meta lets the number send, from its `health_status`, and who must do what if not. Pure.

Source: Meta's "Health status" (2025-10-22). Meta's own sentences are not passed on: they can name a phone number.
"""

from waypost.cloudapi.graph.numbers import HealthEntity, PhoneNumber
from waypost.operator.api.conditions import Condition
from waypost.operator.number.status import remedies

_STEPS = {
    141000: ("NotConnected", "the number is not connected"),
    141006: ("PaymentMissing", remedies.PAYMENT),
    141010: ("BusinessNotVerified", remedies.VERIFY_BUSINESS),
    131042: ("PaymentMissing", remedies.PAYMENT),
    131037: ("DisplayNameNotApproved", remedies.DISPLAY_NAME),
}
_OF = {"PHONE_NUMBER": "number", "WABA": "WhatsApp account", "BUSINESS": "business portfolio", "APP": "app"}
_DEFAULT = {
    "PHONE_NUMBER": remedies.DISPLAY_NAME,
    "WABA": remedies.APPEAL,
    "BUSINESS": remedies.VERIFY_BUSINESS,
    "APP": "look at the app's alerts in the App dashboard",
}


def health(phone: PhoneNumber) -> Condition | None:
    """The condition `CanSend`; None where Meta told nothing of health."""
    said = phone.health_status
    if said is None or not said.can_send_message:
        return None
    reasons = [_reason(each) for each in said.entities if each.can_send_message not in ("AVAILABLE", "")]
    if phone.name_status in ("DECLINED", "EXPIRED"):
        reasons.append(("DisplayNameNotApproved", f"the display name was {phone.name_status}; {remedies.DISPLAY_NAME}"))
    if said.can_send_message == "AVAILABLE" and not reasons:
        return Condition("CanSend", "True", "Available", "Meta lets the number send")
    reason = next((each for each, _ in reasons if each != "NotConnected"), "NotConnected" if reasons else "Limited")
    blocked = said.can_send_message == "BLOCKED"
    beginning = "Meta does not let the number send" if blocked else "Meta lets the number send within limits"
    message = "; ".join([beginning, *(text for _, text in reasons)])
    return Condition("CanSend", "False" if blocked else "True", reason, message)


def _reason(entity: HealthEntity) -> tuple[str, str]:
    what = _OF.get(entity.entity_type, entity.entity_type.lower().replace("_", " ") or "something")
    for error in entity.errors:
        if error.error_code in _STEPS:
            return _STEPS[error.error_code]
    codes = ", ".join(str(each.error_code) for each in entity.errors)
    step = _DEFAULT.get(entity.entity_type, remedies.APPEAL)
    state = entity.can_send_message.title()
    return state, f"the {what} is {state.lower()}{f' (code {codes})' if codes else ''}; {step}"
