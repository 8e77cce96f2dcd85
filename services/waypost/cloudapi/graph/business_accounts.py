"""A WhatsApp Business account: its state, its numbers, and which apps get its deliveries.

Sources: Meta's "Webhook overrides" (copy of 2026-09-11) and the references of the account's edges.
"""

from collections.abc import AsyncIterator

import msgspec

from waypost.cloudapi.graph import answers, numbers
from waypost.cloudapi.graph.calls import Credentials, GraphCalls, Override

FIELDS = "id,name,timezone_id,status,account_review_status,business_verification_status,health_status,currency"


class Account(msgspec.Struct, frozen=True):
    """The state of an account. What Meta left out is empty or None."""

    id: str
    name: str = ""
    timezone_id: str = ""
    status: str = ""
    account_review_status: str = ""
    business_verification_status: str = ""
    currency: str = ""
    health_status: numbers.Health | None = None


class SubscribedApp(msgspec.Struct, frozen=True):
    """An app that gets the account's deliveries, at `override_callback_uri` if that is set."""

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
    """`/{waba_id}` and its edges, other than templates."""

    async def account(self, credentials: Credentials, waba_id: str) -> Account:
        """The account's state."""
        reply = await self.call("GET", "/{waba_id}", credentials, ids={"waba_id": waba_id}, query={"fields": FIELDS})
        return answers.understood(reply, Account)

    async def phone_numbers(
        self, credentials: Credentials, waba_id: str, *, fields: str = numbers.FIELDS, page_size: int = 100
    ) -> AsyncIterator[numbers.PhoneNumber]:
        """All numbers of the account, page by page."""
        query = {"fields": fields, "limit": str(page_size)}
        async for item in self.pages("/{waba_id}/phone_numbers", credentials, ids={"waba_id": waba_id}, query=query):
            yield answers.understood(item, numbers.PhoneNumber)

    async def subscribed_apps(self, credentials: Credentials, waba_id: str) -> tuple[SubscribedApp, ...]:
        """The apps that get the account's deliveries; without one nothing arrives."""
        reply = await self.call("GET", "/{waba_id}/subscribed_apps", credentials, ids={"waba_id": waba_id})
        return tuple(
            SubscribedApp(
                each.whatsapp_business_api_data.id, each.whatsapp_business_api_data.name, each.override_callback_uri
            )
            for each in answers.understood(reply, _Subscriptions).data
        )

    async def subscribe_app(self, credentials: Credentials, waba_id: str, override: Override | None = None) -> None:
        """Subscribe the app of the token, with a callback for this account or, with None, the app's own.

        An override needs an app that is subscribed already, else 100; so a first override takes two calls. The endpoint
        must answer already, else 2200.
        """
        reply = await self.call(
            "POST",
            "/{waba_id}/subscribed_apps",
            credentials,
            ids={"waba_id": waba_id},
            body=override.json() if override else None,
            secrets=(override.verify_token,) if override else (),
        )
        answers.succeeded(reply)

    async def unsubscribe_app(self, credentials: Credentials, waba_id: str) -> None:
        """No more deliveries of this account for the app of the token."""
        answers.succeeded(
            await self.call("DELETE", "/{waba_id}/subscribed_apps", credentials, ids={"waba_id": waba_id})
        )
