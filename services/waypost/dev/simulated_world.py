"""Builds the body of `PUT /_sim/world`. It makes the declared numbers work at the simulated Meta.

This module is pure.
"""

import zlib
from collections.abc import Iterable
from typing import Any

from waypost.contracts.fields import TemplateName
from waypost.dev.kinds import BotSchedule
from waypost.dev.manifests import DeclaredNumber


def seed(numbers: Iterable[DeclaredNumber], schedules: Iterable[BotSchedule] = ()) -> dict[str, Any]:
    """Returns the body with apps, accounts and tokens. The accounts have numbers and templates.

    Equal arguments give an equal body.
    """
    apps: dict[str, dict[str, Any]] = {}
    accounts: dict[str, dict[str, Any]] = {}
    tokens: dict[str, dict[str, Any]] = {}
    planned = list(schedules)
    for declared in numbers:
        spec, credentials = declared.number.spec, declared.credentials
        apps[credentials.app_id] = {
            "app_id": credentials.app_id,
            "app_secret": credentials.app_secret,
            "name": f"Waypost app {credentials.app_id}",
        }
        account = accounts.setdefault(
            spec.waba_id,
            {"waba_id": spec.waba_id, "name": f"Account of {declared.namespace}", "numbers": [], "templates": []},
        )
        number = {
            "phone_number_id": spec.phone_number_id,
            "display_phone_number": phone(spec.phone_number_id),
            "verified_name": declared.name,
        }
        account["numbers"].append(number | ({"pin": credentials.pin} if credentials.pin else {}))
        templates = [spec.outside_window.template] if spec.outside_window else []
        templates += _scheduled_templates(declared, planned)
        # The text of a template is stored at Meta only, so the simulated one gets a placeholder.
        account["templates"] += [
            {"name": name, "language": language, "components": [{"type": "BODY", "text": f"(the template {name})"}]}
            for name, language in dict.fromkeys((each.name, each.language) for each in templates)
        ]
        tokens[credentials.access_token] = {"token": credentials.access_token, "app_id": credentials.app_id}
    return {"apps": list(apps.values()), "accounts": list(accounts.values()), "tokens": list(tokens.values())}


def _scheduled_templates(declared: DeclaredNumber, schedules: Iterable[BotSchedule]) -> list[TemplateName]:
    return [
        schedule.spec.action.message.template
        for schedule in schedules
        if (schedule.metadata.namespace, schedule.spec.number_ref.name) == (declared.namespace, declared.name)
        and schedule.spec.action.message is not None
        and schedule.spec.action.message.template is not None
    ]


def phone(phone_number_id: str) -> str:
    """Returns an American phone number for a simulated number. The same id always gets the same phone number."""
    digits = zlib.crc32(phone_number_id.encode())
    return f"+1 555 {digits // 10_000 % 800 + 200:03d} {digits % 10_000:04d}"
