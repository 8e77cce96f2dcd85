"""Calls on a business phone number: its fields, its own callback, its PIN and its registration."""

import hmac
from typing import Any

from waypost.simulator.graph.call import Call, Caller
from waypost.simulator.graph.handshake import verified_override
from waypost.simulator.graph.outgoing import check_product
from waypost.simulator.graph.paging import selected_fields
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.refusal import Refusal, unexpected_key
from waypost.simulator.world.values import CanSend, CodeVerification, NameStatus, NumberStatus, Scope
from waypost.simulator.world.world import App, Number, World

DEFAULT_FIELDS = (
    "verified_name",
    "code_verification_status",
    "display_phone_number",
    "quality_rating",
    "platform_type",
    "throughput",
    "last_onboarded_time",
    "webhook_configuration",
    "id",
)
REGISTRATION_WINDOW_S = 72 * 3600.0
WRONG_PINS_MAX = 5
CODE = "123456"
"""The code that `verify_code` accepts; no text message is sent."""


def check_access(caller: Caller, number: Number) -> None:
    """Raises `Refusal` unless the caller may manage the number."""
    caller.require_scope(Scope.MANAGEMENT)
    caller.require_account(number.waba_id)


def number_fields(world: World, app: App, number: Number) -> dict[str, Any]:
    """Returns every field of the number. The caller omits fields that are None, as Meta does."""
    account = world.account_of(number)
    app_callback = app.subscription.url if app.subscription else None
    override = account.subscribers.get(app.app_id)
    own = number.callbacks.get(app.app_id)
    callbacks = {
        "phone_number": own.url if own else None,
        "whatsapp_business_account": override.url if override else None,
        "application": app_callback,
    }
    return {
        "id": number.phone_number_id,
        "verified_name": number.verified_name,
        "display_phone_number": number.display_phone_number,
        "status": number.status,
        "quality_rating": number.quality_rating,
        "quality_score": {"score": number.quality_rating},
        "name_status": number.name_status,
        "new_display_name": number.new_display_name,
        "new_name_status": number.new_name_status,
        "code_verification_status": number.code_verification_status,
        "platform_type": number.platform_type,
        "throughput": {"level": number.throughput},
        "webhook_configuration": {scope: url for scope, url in callbacks.items() if url} or None,
        "is_pin_enabled": number.pin is not None,
        "is_official_business_account": False,
        "account_mode": number.account_mode,
        "whatsapp_business_manager_messaging_limit": number.messaging_limit,
        "messaging_limit_tier": number.messaging_limit,
        "health_status": health(world, app, number),
        "last_onboarded_time": "2026-01-15T09:00:00+0000" if number.status == NumberStatus.CONNECTED else None,
    }


def health(world: World, app: App, number: Number) -> dict[str, Any]:
    """Returns `health_status`.

    Its `can_send_message` is the worst of three values: the number's own value, the value of its account, and the
    value that follows from the number's status.
    """
    account = world.account_of(number)
    number_can_send = CanSend.BLOCKED if number.status != NumberStatus.CONNECTED else number.can_send_message
    account_can_send = CanSend.BLOCKED if account.locked else account.can_send_message
    if account_can_send == CanSend.AVAILABLE and not account.has_payment_method:
        account_can_send = CanSend.LIMITED
    entities: list[dict[str, Any]] = [
        {"entity_type": "PHONE_NUMBER", "id": number.phone_number_id, "can_send_message": number_can_send},
        {"entity_type": "WABA", "id": account.waba_id, "can_send_message": account_can_send},
        {"entity_type": "BUSINESS", "id": "1" + account.waba_id, "can_send_message": CanSend.AVAILABLE},
        {"entity_type": "APP", "id": app.app_id, "can_send_message": CanSend.AVAILABLE},
    ]
    if number.status != NumberStatus.CONNECTED:
        entities[0]["errors"] = [
            {
                "error_code": 141000,
                "error_description": "The phone number is not connected.",
                "possible_solution": "Register the phone number.",
            }
        ]
    if not account.has_payment_method:
        entities[1]["errors"] = [
            {
                "error_code": 141006,
                "error_description": "There is no valid payment method on file.",
                "possible_solution": "Add a payment method to the WhatsApp Business account.",
            }
        ]
    worst = max((str(entity["can_send_message"]) for entity in entities), key=[value.value for value in CanSend].index)
    return {"can_send_message": worst, "entities": entities}


async def node(sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Returns the fields of the number."""
    check_access(caller, number)
    fields = number_fields(sim.world, caller.app, number)
    return selected_fields(call, fields, DEFAULT_FIELDS, "WhatsAppBusinessPhoneNumber")


def _check_pin(pin: Any) -> str:
    if not isinstance(pin, str | int) or len(str(pin)) != 6 or not str(pin).isascii() or not str(pin).isdigit():
        raise Refusal(100, message="(#100) Param pin must be a string of exactly 6 digits.")
    return str(pin)


async def change(sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Sets or removes the number's own callback, changes the PIN, or requests another display name."""
    check_access(caller, number)
    permitted = {"webhook_configuration", "pin", "new_display_name", "messaging_product"}
    given = {key: value for key, value in call.parameters.items() if key not in ("access_token", "appsecret_proof")}
    for key in given:
        if key not in permitted:
            raise unexpected_key(key, "phone_number")
    if not given:
        raise Refusal(100, message="(#100) One of webhook_configuration, pin, new_display_name is required.")
    if "pin" in given:
        number.pin = _check_pin(given["pin"])
    if "new_display_name" in given:
        number.new_display_name = call.text("new_display_name", required=True)
        number.new_name_status = NameStatus.PENDING_REVIEW
    if "webhook_configuration" in given:
        await _set_callback(sim, caller, number, given["webhook_configuration"])
    return {"success": True}


async def _set_callback(sim: Simulation, caller: Caller, number: Number, configuration: Any) -> None:
    if not isinstance(configuration, dict) or not isinstance(configuration.get("override_callback_uri"), str):
        raise Refusal(100, message="(#100) Param webhook_configuration must hold override_callback_uri.")
    for key in configuration:
        if key not in ("override_callback_uri", "verify_token"):
            raise unexpected_key(str(key), "webhook_configuration")
    url, token = configuration["override_callback_uri"], configuration.get("verify_token")
    if url == "":
        number.callbacks.pop(caller.app.app_id, None)
        return
    account = sim.world.account_of(number)
    verify_token = token if isinstance(token, str) and token else None
    number.callbacks[caller.app.app_id] = await verified_override(sim, account, caller.app.app_id, url, verify_token)


def _count_registration(sim: Simulation, number: Number) -> None:
    now = sim.now()
    number.registrations[:] = [at for at in number.registrations if at > now - REGISTRATION_WINDOW_S]
    if len(number.registrations) >= sim.config.registrations_per_72_h:
        raise Refusal(133016, "There were too many registration attempts for this phone number in a short period.")
    number.registrations.append(now)


async def register(sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Connects the number. The first PIN is stored, and later PINs must match it.

    Each call counts towards the limit of 10 calls in 72 h.
    """
    check_access(caller, number)
    check_product(call.parameters)
    pin = _check_pin(call.parameters.get("pin"))
    # Meta counts failed attempts too, so this comes before the checks that follow.
    _count_registration(sim, number)
    if number.code_verification_status != CodeVerification.VERIFIED:
        raise Refusal(133006, "The phone number must be verified by code before it can be registered.")
    if number.status == NumberStatus.BANNED:
        raise Refusal(131031)
    if number.wrong_pins >= WRONG_PINS_MAX:
        raise Refusal(133008, "Too many wrong PINs; try again after 12 hours.")
    if number.pin is not None and not hmac.compare_digest(number.pin.encode(), pin.encode()):
        number.wrong_pins += 1
        raise Refusal(133005, "The two-step verification PIN does not match.")
    number.wrong_pins = 0
    number.pin = pin
    number.status = NumberStatus.CONNECTED
    return {"success": True}


async def deregister(sim: Simulation, _call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Disconnects the number. This call, too, counts towards the limit of registrations."""
    check_access(caller, number)
    _count_registration(sim, number)
    number.status = NumberStatus.DISCONNECTED
    return {"success": True}


async def request_code(_sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Pretends to send the verification code, which is `CODE`."""
    check_access(caller, number)
    if call.text("code_method", required=True) not in ("SMS", "VOICE"):
        raise Refusal(100, message="(#100) Param code_method must be one of {SMS, VOICE}.")
    call.text("language", required=True)
    if number.code_verification_status == CodeVerification.VERIFIED:
        raise Refusal(136024, "The phone number is verified already.")
    return {"success": True}


async def verify_code(_sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Verifies the number if the call gives the correct code."""
    check_access(caller, number)
    if call.text("code", required=True) != CODE:
        raise Refusal(136025, "The code is not correct.")
    number.code_verification_status = CodeVerification.VERIFIED
    return {"success": True}
