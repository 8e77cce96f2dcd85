"""A business phone number at Meta: its state, registration, PIN, callback override, profile.

Sources: Meta's "Business phone numbers" (2026-02-27), "Register a number" (2026-03-31), "Health status" (2025-10-22),
"Webhook overrides" (copy of 2026-09-11), "Business profiles" (2025-10-05). Enumerations are open: new values pass.
"""

import msgspec

from waypost.cloudapi.graph import answers
from waypost.cloudapi.graph.calls import Credentials, GraphCalls, Override

FIELDS = ",".join(
    (
        "id",
        "verified_name",
        "display_phone_number",
        "status",
        "quality_rating",
        "name_status",
        "new_name_status",
        "code_verification_status",
        "platform_type",
        "throughput",
        "webhook_configuration",
        "is_pin_enabled",
        "account_mode",
        "whatsapp_business_manager_messaging_limit",
        "health_status",
        "last_onboarded_time",
    )
)


class HealthError(msgspec.Struct, frozen=True):
    """Why an entity cannot send, in Meta's words."""

    error_code: int = 0
    error_description: str = ""
    possible_solution: str = ""


class HealthEntity(msgspec.Struct, frozen=True):
    """One link of the chain number, account, business, app, template."""

    entity_type: str = ""
    id: str = ""
    can_send_message: str = ""
    errors: list[HealthError] = []
    additional_info: list[str] = []


class Health(msgspec.Struct, frozen=True):
    """Whether messages can be sent: `AVAILABLE`, `LIMITED` or `BLOCKED`."""

    can_send_message: str = ""
    entities: list[HealthEntity] = []


class Throughput(msgspec.Struct, frozen=True):
    """`STANDARD`, `HIGH` or `NOT_APPLICABLE`."""

    level: str = ""


class WebhookConfiguration(msgspec.Struct, frozen=True):
    """Callback addresses by level; the first that is set, in this order, gets the deliveries of the number."""

    phone_number: str | None = None
    whatsapp_business_account: str | None = None
    application: str | None = None


class PhoneNumber(msgspec.Struct, frozen=True):
    """The state of a number. What Meta left out is empty or None."""

    id: str
    verified_name: str = ""
    display_phone_number: str = ""
    status: str = ""
    """`CONNECTED` to send and receive; `PENDING`, `DISCONNECTED`, `BANNED`, `FLAGGED`, `RATE_LIMITED`, …"""
    quality_rating: str = ""
    name_status: str = ""
    new_name_status: str = ""
    code_verification_status: str = ""
    platform_type: str = ""
    throughput: Throughput | None = None
    webhook_configuration: WebhookConfiguration | None = None
    is_pin_enabled: bool | None = None
    account_mode: str = ""
    """`LIVE` or `SANDBOX`."""
    whatsapp_business_manager_messaging_limit: str = ""
    health_status: Health | None = None
    last_onboarded_time: str = ""

    def __repr__(self) -> str:
        return f"<PhoneNumber {self.id} {self.status}>"


class Profile(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What people see of a business. For `set_profile` None leaves a field as it is."""

    about: str | None = None
    address: str | None = None
    description: str | None = None
    email: str | None = None
    profile_picture_url: str | None = None
    profile_picture_handle: str | None = None
    """For `set_profile` only: the handle of a resumable upload."""
    websites: list[str] | None = None
    vertical: str | None = None


class _Profiles(msgspec.Struct):
    data: list[Profile]


class _NumberHealth(msgspec.Struct):
    health_status: Health


class _NumberWebhook(msgspec.Struct):
    webhook_configuration: WebhookConfiguration = WebhookConfiguration()


class NumberCalls(GraphCalls):
    """`/{phone_number_id}` and its edges, other than messages and media."""

    async def phone_number(
        self, credentials: Credentials, phone_number_id: str, *, fields: str = FIELDS
    ) -> PhoneNumber:
        """The number's state; `fields` is a comma-separated list of Graph's names."""
        return answers.understood(await self._read(credentials, phone_number_id, fields), PhoneNumber)

    async def health(self, credentials: Credentials, phone_number_id: str) -> Health:
        """Whether the number can send now: the best single probe of readiness that Meta has."""
        reply = await self._read(credentials, phone_number_id, "health_status")
        return answers.understood(reply, _NumberHealth).health_status

    async def register(
        self, credentials: Credentials, phone_number_id: str, *, pin: str, data_localization_region: str | None = None
    ) -> None:
        """Connect the number to the Cloud API; `pin` is set if there is none yet, and must match if there is one.

        Never call it in a loop: 10 calls of register and deregister in 72 h, then the number is locked for 72 h
        (133016), and wrong PINs lock it too (133005, 133008).
        """
        body: dict[str, object] = {"messaging_product": "whatsapp", "pin": pin}
        if data_localization_region is not None:
            body["data_localization_region"] = data_localization_region
        await self._change(credentials, phone_number_id, "/register", body, secrets=(pin,))

    async def deregister(self, credentials: Credentials, phone_number_id: str) -> None:
        """Disconnect the number; it counts like `register`, and is not for numbers shared with the business app."""
        await self._change(credentials, phone_number_id, "/deregister", {"messaging_product": "whatsapp"})

    async def request_code(
        self, credentials: Credentials, phone_number_id: str, *, language: str, by_voice: bool = False
    ) -> None:
        """Have Meta send the code that proves who owns the number, by SMS or by voice."""
        body: dict[str, object] = {"code_method": "VOICE" if by_voice else "SMS", "language": language}
        await self._change(credentials, phone_number_id, "/request_code", body)

    async def verify_code(self, credentials: Credentials, phone_number_id: str, *, code: str) -> None:
        """Give that code back; a person has to read it."""
        await self._change(credentials, phone_number_id, "/verify_code", {"code": code}, secrets=(code,))

    async def set_pin(self, credentials: Credentials, phone_number_id: str, *, pin: str) -> None:
        """Set or change the two-step verification PIN. There is no call that turns it off."""
        await self._change(credentials, phone_number_id, "", {"pin": pin}, secrets=(pin,))

    async def set_display_name(self, credentials: Credentials, phone_number_id: str, *, name: str) -> None:
        """Ask for another display name: 10 changes in 30 days, and after approval register again within 14 days."""
        reply = await self.call(
            "POST",
            "/{phone_number_id}",
            credentials,
            ids={"phone_number_id": phone_number_id},
            query={"new_display_name": name},
        )
        answers.succeeded(reply)

    async def number_webhook(self, credentials: Credentials, phone_number_id: str) -> WebhookConfiguration:
        """The callbacks of the number, its account and the app. Verify tokens are never returned."""
        reply = await self._read(credentials, phone_number_id, "webhook_configuration")
        return answers.understood(reply, _NumberWebhook).webhook_configuration

    async def override_number_webhook(
        self, credentials: Credentials, phone_number_id: str, override: Override | None
    ) -> None:
        """Give the number a callback of its own, or with None take it away. The endpoint must answer already."""
        configuration = override.json() if override else {"override_callback_uri": ""}
        body: dict[str, object] = {"webhook_configuration": configuration}
        secrets = (override.verify_token,) if override else ()
        await self._change(credentials, phone_number_id, "", body, secrets=secrets)

    async def profile(self, credentials: Credentials, phone_number_id: str) -> Profile:
        """The business profile; empty if there is none."""
        reply = await self.call(
            "GET",
            "/{phone_number_id}/whatsapp_business_profile",
            credentials,
            ids={"phone_number_id": phone_number_id},
            query={"fields": "about,address,description,email,profile_picture_url,websites,vertical"},
        )
        profiles = answers.understood(reply, _Profiles).data
        return profiles[0] if profiles else Profile()

    async def set_profile(self, credentials: Credentials, phone_number_id: str, profile: Profile) -> None:
        """Change the fields of the profile that are not None."""
        body = {"messaging_product": "whatsapp", **msgspec.to_builtins(profile)}
        await self._change(credentials, phone_number_id, "/whatsapp_business_profile", body)

    async def _read(self, credentials: Credentials, phone_number_id: str, fields: str) -> object:
        return await self.call(
            "GET",
            "/{phone_number_id}",
            credentials,
            ids={"phone_number_id": phone_number_id},
            query={"fields": fields},
        )

    async def _change(
        self,
        credentials: Credentials,
        phone_number_id: str,
        edge: str,
        body: dict[str, object],
        *,
        secrets: tuple[str, ...] = (),
    ) -> None:
        reply = await self.call(
            "POST",
            "/{phone_number_id}" + edge,
            credentials,
            ids={"phone_number_id": phone_number_id},
            body=body,
            secrets=secrets,
        )
        answers.succeeded(reply)
