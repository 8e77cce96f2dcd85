"""The Meta app: its tokens, and the callback that all its numbers share.

Sources: Graph's "Subscriptions edge" and `/{app-id}/subscriptions` (v25), "debug_token", and "Install apps, generate,
refresh, revoke tokens" (copy of 2026-09-11).
"""

import dataclasses
from collections.abc import Sequence

import msgspec

from waypost.cloudapi.graph import answers
from waypost.cloudapi.graph.calls import Credentials, GraphCalls

OBJECT = "whatsapp_business_account"


class SubscribedField(msgspec.Struct, frozen=True):
    """A webhook field, and the Graph version of its payloads."""

    name: str
    version: str = ""


class AppSubscription(msgspec.Struct, frozen=True):
    """The callback of an app for one kind of object."""

    object: str
    callback_url: str = ""
    active: bool = True
    fields: tuple[SubscribedField, ...] = ()


class _AppSubscription(msgspec.Struct):
    object: str
    callback_url: str = ""
    active: bool = True
    fields: list[SubscribedField | str] = []


class _AppSubscriptions(msgspec.Struct):
    data: list[_AppSubscription]


class GranularScope(msgspec.Struct, frozen=True):
    """A scope, limited to some accounts; without `target_ids` it holds for all."""

    scope: str
    target_ids: list[str] | None = None


class TokenFault(msgspec.Struct, frozen=True):
    """Why a token is not valid."""

    code: int = 0
    subcode: int = 0


class TokenDetails(msgspec.Struct, frozen=True):
    """What Meta knows of a token. Times are seconds since 1970."""

    is_valid: bool = False
    app_id: str = ""
    type: str = ""
    application: str = ""
    expires_at: int = 0
    """0: never."""
    data_access_expires_at: int = 0
    issued_at: int = 0
    scopes: list[str] = []
    granular_scopes: list[GranularScope] = []
    user_id: str = ""
    error: TokenFault | None = None


class _Debugged(msgspec.Struct):
    data: TokenDetails


@dataclasses.dataclass(frozen=True)
class IssuedToken:
    """A token fresh from Meta. Its `repr` hides it."""

    token: str = dataclasses.field(repr=False)
    expires_in_s: int | None = None
    """None: not told, which for an app token means never."""


class _Issued(msgspec.Struct):
    access_token: str
    expires_in: int | None = None


class AppCalls(GraphCalls):
    """`/{app_id}/subscriptions`, `/debug_token` and `/oauth/…`."""

    async def app_access_token(self, app_id: str, app_secret: str) -> IssuedToken:
        """The token that stands for the app itself, as `debug_token` and the subscriptions need it."""
        query = {"client_id": app_id, "client_secret": app_secret, "grant_type": "client_credentials"}
        return await self._issued(query, secrets=(app_secret,))

    async def debug_token(self, credentials: Credentials, token: str) -> TokenDetails:
        """What Meta knows of `token`; `credentials` are those of the app. Meta takes the token in the query only."""
        reply = await self.call("GET", "/debug_token", credentials, query={"input_token": token}, secrets=(token,))
        return answers.understood(reply, _Debugged).data

    async def refresh_token(self, app_id: str, app_secret: str, token: str) -> IssuedToken:
        """A new 60-day token for a system user's token that has not lapsed yet; the old one lives on to its own end."""
        query = {
            "grant_type": "fb_exchange_token",
            "client_id": app_id,
            "client_secret": app_secret,
            "set_token_expires_in_60_days": "true",
            "fb_exchange_token": token,
        }
        return await self._issued(query, secrets=(app_secret, token))

    async def revoke_token(self, app_id: str, app_secret: str, token: str, *, with_token: str) -> None:
        """End `token` now, on the word of `with_token`. Only after the new token is in use everywhere."""
        query = {"client_id": app_id, "client_secret": app_secret, "revoke_token": token}
        credentials = Credentials.proven(with_token, app_secret)
        reply = await self.call("GET", "/oauth/revoke", credentials, query=query, secrets=(app_secret, token))
        answers.succeeded(reply)

    async def app_subscriptions(self, credentials: Credentials, app_id: str) -> tuple[AppSubscription, ...]:
        """The app's callbacks, one per object. Verify tokens are never returned."""
        reply = await self.call("GET", "/{app_id}/subscriptions", credentials, ids={"app_id": app_id})
        return tuple(
            AppSubscription(
                each.object,
                each.callback_url,
                each.active,
                tuple(SubscribedField(field) if isinstance(field, str) else field for field in each.fields),
            )
            for each in answers.understood(reply, _AppSubscriptions).data
        )

    async def set_app_subscription(
        self, credentials: Credentials, app_id: str, *, callback_url: str, verify_token: str, fields: Sequence[str]
    ) -> None:
        """Set the app's callback and all its fields; whether Meta merges fields is not known, so give the full list.

        Before it answers Meta asks the callback with the verify token; if that fails the error is 2200.
        """
        body = {
            "object": OBJECT,
            "callback_url": callback_url,
            "verify_token": verify_token,
            "fields": ",".join(fields),
            "include_values": True,
        }
        reply = await self.call(
            "POST",
            "/{app_id}/subscriptions",
            credentials,
            ids={"app_id": app_id},
            body=body,
            secrets=(verify_token,),
        )
        answers.succeeded(reply)

    async def delete_app_subscription(self, credentials: Credentials, app_id: str) -> None:
        """Take the app's callback away."""
        reply = await self.call(
            "DELETE", "/{app_id}/subscriptions", credentials, ids={"app_id": app_id}, query={"object": OBJECT}
        )
        answers.succeeded(reply)

    async def _issued(self, query: dict[str, str], *, secrets: tuple[str, ...]) -> IssuedToken:
        reply = await self.call("GET", "/oauth/access_token", None, query=query, secrets=secrets)
        issued = answers.understood(reply, _Issued)
        return IssuedToken(issued.access_token, issued.expires_in)
