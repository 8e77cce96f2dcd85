"""The objects that `benchmarks.operator_scale` creates: numbers, schedules, Secrets, and objects at Meta."""

import uuid
from dataclasses import dataclass, field
from typing import Any

TEAMS = 10
NUMBERS_OF_ACCOUNT = 2
ACCOUNTS_OF_APP = 10
NEVER = "0 0 29 2 *"
"""A cron expression that is due only on 29 February, so that no run starts while the operator is measured."""


@dataclass
class Fleet:
    """The objects to create. They are the same in each run, except for the names of their namespaces."""

    numbers: int
    schedules: int
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:6])

    @property
    def release(self) -> str:
        return f"waypost-scale-{self.run}"

    @property
    def teams(self) -> list[str]:
        return [f"{self.release}-team-{index}" for index in range(TEAMS)]

    def team(self, index: int) -> str:
        return self.teams[index % TEAMS]

    def number_id(self, index: int) -> str:
        return f"{106_540_000_000_000 + index}"

    def account_id(self, index: int) -> str:
        return f"{102_290_000_000_000 + index // TEAMS // NUMBERS_OF_ACCOUNT * TEAMS + index % TEAMS}"

    def app_id(self, index: int) -> str:
        return f"{300_000_000_000_000 + int(self.account_id(index)) % 1_000_000 // ACCOUNTS_OF_APP}"

    def secret(self, index: int) -> dict[str, Any]:
        labels = {"waypost.dev/credentials": "true"}
        app = self.app_id(index)
        data = {"appId": app, "appSecret": f"secret-{app}", "accessToken": f"token-{self.account_id(index)}"}
        return {"metadata": {"name": f"meta-{index}", "labels": labels}, "stringData": data}

    def number(self, index: int) -> dict[str, Any]:
        spec = {"phoneNumberId": self.number_id(index), "wabaId": self.account_id(index)}
        return _object("WhatsAppNumber", f"number-{index}", spec | {"credentialsRef": {"name": f"meta-{index}"}})

    def schedule(self, index: int) -> dict[str, Any]:
        message = {
            "template": {"name": "weekly_news", "language": "en"},
            "audience": {"contacts": [f"+39333{index:07d}"]},
        }
        spec = {"numberRef": {"name": f"number-{index % self.numbers}"}, "schedule": NEVER}
        return _object(
            "BotSchedule",
            f"schedule-{index}",
            spec | {"timeZone": "Europe/Rome", "action": {"message": message}},
        )

    def world(self) -> dict[str, Any]:
        accounts: dict[str, list[dict[str, str]]] = {}
        apps, tokens = {}, {}
        for index in range(self.numbers):
            phone = f"+1 555 {200 + index // 10_000:03d} {index % 10_000:04d}"
            entry = {"phone_number_id": self.number_id(index), "display_phone_number": phone}
            accounts.setdefault(self.account_id(index), []).append(entry)
            app, token = self.app_id(index), f"token-{self.account_id(index)}"
            apps[app] = {"app_id": app, "app_secret": f"secret-{app}"}
            tokens[token] = {"token": token, "app_id": app}
        listed = [{"waba_id": account, "numbers": numbers} for account, numbers in accounts.items()]
        return {"apps": list(apps.values()), "accounts": listed, "tokens": list(tokens.values())}


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "waypost.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
