"""Converts objects to the JSON that `/_sim/*` shows. The JSON contains no secrets and no verify tokens."""

from typing import Any

from waypost.simulator.world.history import Sent
from waypost.simulator.world.world import Number, World


def sent_view(sent: Sent) -> dict[str, Any]:
    """Returns the JSON object of a business's message for `/_sim/sent`. Its `text` is the text that the user reads."""
    return {
        "seq": sent.seq,
        "wamid": sent.wamid,
        "number": sent.phone_number_id,
        "to": sent.to,
        "wa_id": sent.user.phone,
        "user_id": sent.user.user_id,
        "type": sent.type,
        "body": sent.body,
        "text": sent.rendered.get("body", "") if sent.rendered else readable_text(sent.type, sent.body),
        "template": sent.rendered,
        "context": sent.context,
        "time": sent.time,
        "biz_opaque_callback_data": sent.callback_data,
        "status": sent.status,
        "statuses": sent.statuses,
        "error": sent.error,
    }


def readable_text(kind: str, body: Any) -> str:
    """Returns the text of a message as the user reads it."""
    if not isinstance(body, dict):
        return ""
    if kind == "text":
        return str(body.get("body", ""))
    if kind == "interactive":
        return str((body.get("body") or {}).get("text", ""))
    if kind == "template":
        return str(body.get("name", ""))
    if kind == "reaction":
        return str(body.get("emoji", ""))
    return str(body.get("caption") or body.get("name") or "")


def number_view(number: Number) -> dict[str, Any]:
    """Returns the JSON object of a number for `/_sim/world`."""
    return {
        "phone_number_id": number.phone_number_id,
        "display_phone_number": number.display_phone_number,
        "verified_name": number.verified_name,
        "status": number.status,
    }


def world_view(world: World) -> dict[str, Any]:
    """Returns the JSON object of all apps, accounts, numbers and templates for `/_sim/world`."""
    return {
        "apps": [{"app_id": app.app_id, "name": app.name} for app in world.apps.values()],
        "accounts": [
            {
                "waba_id": account.waba_id,
                "name": account.name,
                "subscribed_apps": list(account.subscribers),
                "numbers": [number_view(world.numbers[number_id]) for number_id in account.numbers],
                "templates": [
                    {"name": t.name, "language": t.language, "status": t.status} for t in account.templates.values()
                ],
            }
            for account in world.accounts.values()
        ],
    }


def callbacks(world: World) -> list[dict[str, Any]]:
    """Returns every callback that an app, an account or a number uses."""
    found: list[dict[str, Any]] = [
        {
            "scope": "app",
            "app_id": app.app_id,
            "callback_url": app.subscription.url,
            "fields": app.subscription.fields,
            "accounts": [a.waba_id for a in world.accounts.values() if app.app_id in a.subscribers],
        }
        for app in world.apps.values()
        if app.subscription is not None
    ]
    for account in world.accounts.values():
        for app_id, override in account.subscribers.items():
            if override is not None:
                found.append(
                    {
                        "scope": "account",
                        "app_id": app_id,
                        "waba_id": account.waba_id,
                        "callback_url": override.url,
                    }
                )
    for number in world.numbers.values():
        for app_id, callback in number.callbacks.items():
            found.append(
                {
                    "scope": "number",
                    "app_id": app_id,
                    "waba_id": number.waba_id,
                    "number": number.phone_number_id,
                    "callback_url": callback.url,
                }
            )
    return found
