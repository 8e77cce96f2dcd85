"""What the simulated Meta must hold so that the declared numbers work there: the body of `PUT /_sim/world`. Pure."""

import zlib
from collections.abc import Iterable
from typing import Any

from waypost.cli.manifests import DeclaredNumber


def seed(numbers: Iterable[DeclaredNumber]) -> dict[str, Any]:
    """Apps, accounts with numbers and templates, and tokens. The same numbers give the same body."""
    apps: dict[str, dict[str, Any]] = {}
    accounts: dict[str, dict[str, Any]] = {}
    tokens: dict[str, dict[str, Any]] = {}
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
        if spec.outside_window is not None:
            template = spec.outside_window.template
            account["templates"].append(
                {
                    "name": template.name,
                    "language": template.language,
                    "components": [{"type": "BODY", "text": "We have an answer for you. Write to us to receive it."}],
                }
            )
        tokens[credentials.access_token] = {"token": credentials.access_token, "app_id": credentials.app_id}
    return {"apps": list(apps.values()), "accounts": list(accounts.values()), "tokens": list(tokens.values())}


def phone(phone_number_id: str) -> str:
    """An American phone number for a number of the simulation; the same id always has the same one."""
    digits = zlib.crc32(phone_number_id.encode())
    return f"+1 555 {digits // 10_000 % 800 + 200:03d} {digits % 10_000:04d}"
