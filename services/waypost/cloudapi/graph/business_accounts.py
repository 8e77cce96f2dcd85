"""Calls about a WhatsApp Business account and about the apps that receive its deliveries.

Sources: Meta's "Webhook overrides" (copy of 2026-09-11) and the references of the account's edges.
"""

import msgspec

from waypost.cloudapi.graph import responses
from waypost.cloudapi.graph.calls import Credentials, GraphCalls, Override
from waypost.cloudapi.graph.numbers import Health

FIELDS = "id,name,timezone_id,status,account_review_status,business_verification_status,health_status,currency"


class Account(msgspec.Struct, frozen=True):
    """The state of an account. Members that Meta left out are empty or None."""

    id: str
    name: str = ""
    timezone_id: str = ""
    status: str = ""
    account_review_status: str = ""
    business_verification_status: str = ""
    currency: str = ""
    health_status: Health | None = None


class SubscribedApp(msgspec.Struct, frozen=True):
    """An app that receives the account's deliveries.

    If `override_callback_uri` is set, Meta sends the deliveries to that address.
    """

    id: str
    name: str = ""
    override_callback_uri: str | None = None


class _App(msgspec.Struct):
    id: str
    name: str = ""


class _Subscription(msgspec.Struct):
    whatsapp_business_api_data: _App
    override_callback_uri: str | None = None


class _Subscriptions(msgspec.Struct):
    data: list[_Subscription]


class AccountCalls(GraphCalls):
    """The calls for `/{waba_id}` and for the edges of the account, except templates."""

    async def account(self, credentials: Credentials, waba_id: str) -> Account:
        """Returns the state of the account."""
        reply = await self.call("GET", "/{waba_id}", credentials, ids={"waba_id": waba_id}, query={"fields": FIELDS})
        return responses.convert(reply, Account)

    async def subscribed_apps(self, credentials: Credentials, waba_id: str) -> tuple[SubscribedApp, ...]:
        """Returns the apps that receive the account's deliveries.

        If there are none, Meta delivers nothing for the account.
        """
        reply = await self.call("GET", "/{waba_id}/subscribed_apps", credentials, ids={"waba_id": waba_id})
        return tuple(
            SubscribedApp(
                each.whatsapp_business_api_data.id, each.whatsapp_business_api_data.name, each.override_callback_uri
            )
            for each in responses.convert(reply, _Subscriptions).data
        )

    async def subscribe_app(self, credentials: Credentials, waba_id: str, override: Override | None = None) -> None:
        """Subscribes the app of the token to the account. If `override` is None, the app's own callback is used.

        An override requires that the app is already subscribed, else Meta refuses with error 100. So a first override
        takes two calls. The endpoint must already answer, else Meta refuses with error 2200.
        """
        reply = await self.call(
            "POST",
            "/{waba_id}/subscribed_apps",
            credentials,
            ids={"waba_id": waba_id},
            body=override.json() if override else None,
            secrets=(override.verify_token,) if override else (),
        )
        responses.require_success(reply)

    async def unsubscribe_app(self, credentials: Credentials, waba_id: str) -> None:
        """Stops Meta from delivering this account's events to the token's app."""
        responses.require_success(
            await self.call("DELETE", "/{waba_id}/subscribed_apps", credentials, ids={"waba_id": waba_id})
        )
