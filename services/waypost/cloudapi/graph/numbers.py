"""Calls about a business phone number: its state, registration, callback override and profile.

Sources: Meta's "Business phone numbers" (2026-02-27), "Register a number" (2026-03-31), "Health status"
(2025-10-22), "Webhook overrides" (copy of 2026-09-11), "Business profiles" (2025-10-05). Values that are not
known yet are accepted in all enumerations.
"""

import msgspec

from waypost.cloudapi.graph import responses
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
    """The reason why an entity cannot send, in Meta's words."""

    error_code: int = 0
    error_description: str = ""
    possible_solution: str = ""


class HealthEntity(msgspec.Struct, frozen=True):
    """One of the entities that must all be able to send: the number, its account, business, app or template."""

    entity_type: str = ""
    id: str = ""
    can_send_message: str = ""
    errors: list[HealthError] = []


class Health(msgspec.Struct, frozen=True):
    """Meta's statement on whether messages can be sent: `AVAILABLE`, `LIMITED` or `BLOCKED`."""

    can_send_message: str = ""
    entities: list[HealthEntity] = []


class Throughput(msgspec.Struct, frozen=True):
    """The throughput level: `STANDARD`, `HIGH` or `NOT_APPLICABLE`."""

    level: str = ""


class WebhookConfiguration(msgspec.Struct, frozen=True):
    """The callback addresses that apply to a number, by level.

    Meta sends deliveries to the first address that is set, in the order of the fields.
    """

    phone_number: str | None = None
    whatsapp_business_account: str | None = None
    application: str | None = None


class PhoneNumber(msgspec.Struct, frozen=True):
    """The state of a number. Members that Meta left out are empty or None."""

    id: str
    verified_name: str = ""
    display_phone_number: str = ""
    status: str = ""
    """A `CONNECTED` number sends and receives.

    Other values are `PENDING`, `DISCONNECTED`, `BANNED`, `FLAGGED`, `RATE_LIMITED`, …
    """
    quality_rating: str = ""
    name_status: str = ""
    new_name_status: str = ""
    code_verification_status: str = ""
    platform_type: str = ""
    throughput: Throughput | None = None
    webhook_configuration: WebhookConfiguration | None = None
    is_pin_enabled: bool | None = None
    account_mode: str = ""
    """The mode of the number's account: `LIVE` or `SANDBOX`."""
    whatsapp_business_manager_messaging_limit: str = ""
    health_status: Health | None = None
    last_onboarded_time: str = ""

    def __repr__(self) -> str:
        return f"<PhoneNumber {self.id} {self.status}>"


class Profile(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The public profile of a business. `set_profile` does not change a field that is None."""

    about: str | None = None
    address: str | None = None
    description: str | None = None
    email: str | None = None
    profile_picture_url: str | None = None
    profile_picture_handle: str | None = None
    """Handle of a resumable upload; used by `set_profile` only."""
    websites: list[str] | None = None
    vertical: str | None = None


class _Profiles(msgspec.Struct):
    data: list[Profile]


class NumberCalls(GraphCalls):
    """The calls for `/{phone_number_id}` and for the edges of the number, except messages and media."""

    async def phone_number(
        self, credentials: Credentials, phone_number_id: str, *, fields: str = FIELDS
    ) -> PhoneNumber:
        """Returns the state of the number. `fields` is a comma-separated list of field names of the Graph API."""
        ids = {"phone_number_id": phone_number_id}
        reply = await self.call("GET", "/{phone_number_id}", credentials, ids=ids, query={"fields": fields})
        return responses.convert(reply, PhoneNumber)

    async def register(
        self, credentials: Credentials, phone_number_id: str, *, pin: str, data_localization_region: str | None = None
    ) -> None:
        """Connects the number to the Cloud API.

        If the number has no PIN, `pin` becomes its PIN. If the number has a PIN, `pin` must match it.

        Never call this method in a loop. After 10 calls of register and deregister in 72 h, Meta locks the number for
        72 h (error 133016). Wrong PINs lock the number too (errors 133005 and 133008).
        """
        body: dict[str, object] = {"messaging_product": "whatsapp", "pin": pin}
        if data_localization_region is not None:
            body["data_localization_region"] = data_localization_region
        await self._change(credentials, phone_number_id, "/register", body, secrets=(pin,))

    async def override_number_webhook(
        self, credentials: Credentials, phone_number_id: str, override: Override | None
    ) -> None:
        """Gives the number its own callback. If `override` is None, the number's own callback is removed.

        The endpoint must already answer.
        """
        configuration = override.json() if override else {"override_callback_uri": ""}
        body: dict[str, object] = {"webhook_configuration": configuration}
        secrets = (override.verify_token,) if override else ()
        await self._change(credentials, phone_number_id, "", body, secrets=secrets)

    async def profile(self, credentials: Credentials, phone_number_id: str) -> Profile:
        """Returns the business profile. The profile is empty if Meta has none."""
        reply = await self.call(
            "GET",
            "/{phone_number_id}/whatsapp_business_profile",
            credentials,
            ids={"phone_number_id": phone_number_id},
            query={"fields": "about,address,description,email,profile_picture_url,websites,vertical"},
        )
        profiles = responses.convert(reply, _Profiles).data
        return profiles[0] if profiles else Profile()

    async def set_profile(self, credentials: Credentials, phone_number_id: str, profile: Profile) -> None:
        """Changes the fields of the profile that are not None."""
        body = {"messaging_product": "whatsapp", **msgspec.to_builtins(profile)}
        await self._change(credentials, phone_number_id, "/whatsapp_business_profile", body)

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
        responses.require_success(reply)
