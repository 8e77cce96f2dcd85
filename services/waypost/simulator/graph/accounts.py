"""Calls on a WhatsApp Business account: its fields, its numbers, and the apps that get its webhooks."""

from typing import Any

from waypost.simulator.graph.call import Call, Caller
from waypost.simulator.graph.handshake import verified_override
from waypost.simulator.graph.numbers import DEFAULT_FIELDS, number_fields
from waypost.simulator.graph.paging import page, selected_fields
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.values import CanSend, Scope
from waypost.simulator.world.world import Account


def _allowed(caller: Caller, account: Account) -> None:
    caller.require_scope(Scope.MANAGEMENT)
    caller.require_account(account.waba_id)


async def node(_sim: Simulation, call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Returns the fields of the account."""
    _allowed(caller, account)
    fields = {
        "id": account.waba_id,
        "name": account.name,
        "timezone_id": account.timezone_id,
        "message_template_namespace": f"ns_{account.waba_id}",
        "currency": account.currency,
        "status": account.status,
        "account_review_status": account.account_review_status,
        "business_verification_status": account.business_verification_status,
        "country": "IT",
        "ownership_type": "CLIENT_OWNED",
        "health_status": {
            "can_send_message": account.can_send_message,
            "entities": [
                {"entity_type": "WABA", "id": account.waba_id, "can_send_message": account.can_send_message},
                {"entity_type": "APP", "id": caller.app.app_id, "can_send_message": CanSend.AVAILABLE},
            ],
        },
    }
    default = ("name", "timezone_id", "message_template_namespace")
    return selected_fields(call, fields, default, "WhatsAppBusinessAccount")


async def phone_numbers(sim: Simulation, call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Lists the numbers of the account, in pages."""
    _allowed(caller, account)
    numbers = [sim.world.numbers[number_id] for number_id in account.numbers]
    views = [
        selected_fields(
            call, number_fields(sim.world, caller.app, number), DEFAULT_FIELDS, "WhatsAppBusinessPhoneNumber"
        )
        for number in numbers
    ]
    return page(call, views)


async def subscribe(sim: Simulation, call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Subscribes the app to the account.

    If the call gives no `override_callback_uri`, the override of the app is removed. If it gives one, the new
    override is verified and set.
    """
    _allowed(caller, account)
    app_id = caller.app.app_id
    url = call.text("override_callback_uri")
    if url is None:
        account.subscribers[app_id] = None
        return {"success": True}
    account.subscribers[app_id] = await verified_override(sim, account, app_id, url, call.text("verify_token"))
    return {"success": True}


async def subscribed(sim: Simulation, _call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Lists the subscribed apps with their overrides."""
    _allowed(caller, account)
    data = []
    for app_id, override in account.subscribers.items():
        app = sim.world.apps.get(app_id)
        shown: dict[str, Any] = {
            "whatsapp_business_api_data": {
                "id": app_id,
                "name": app.name if app else "",
                "link": f"https://www.facebook.com/games/?app_id={app_id}",
            }
        }
        if override is not None:
            shown["override_callback_uri"] = override.url
        data.append(shown)
    return {"data": data}


async def unsubscribe(_sim: Simulation, _call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Unsubscribes the app that makes the call."""
    _allowed(caller, account)
    account.subscribers.pop(caller.app.app_id, None)
    return {"success": True}
