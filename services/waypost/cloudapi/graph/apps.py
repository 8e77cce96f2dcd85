"""Calls about the Meta app. They manage the app's tokens and the callback that all its numbers share.

Sources: Graph's "Subscriptions edge" and `/{app-id}/subscriptions` (v25), "debug_token", and "Install apps,
generate, refresh, revoke tokens" (copy of 2026-09-11).
"""

import dataclasses
from collections.abc import Sequence

import msgspec

from waypost.cloudapi.graph import responses
from waypost.cloudapi.graph.calls import Credentials, GraphCalls

OBJECT = "whatsapp_business_account"


class SubscribedField(msgspec.Struct, frozen=True):
    """A webhook field and the Graph version of its payloads."""

    name: str
    version: str = ""


class AppSubscription(msgspec.Struct, frozen=True):
    """An app's callback for one kind of object."""

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
    """A scope that is limited to some accounts. Without `target_ids`, the scope applies to all accounts."""

    scope: str
    target_ids: list[str] | None = None


class TokenFault(msgspec.Struct, frozen=True):
    """The reason why a token is not valid."""

    code: int = 0
    subcode: int = 0


class TokenDetails(msgspec.Struct, frozen=True):
    """Meta's description of a token. All times are in seconds since 1970."""

    is_valid: bool = False
    app_id: str = ""
    type: str = ""
    application: str = ""
    expires_at: int = 0
    """Seconds since 1970; 0 means that the token never expires."""
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
    """A new token from Meta. Its `repr` hides the token."""

    token: str = dataclasses.field(repr=False)


class _Issued(msgspec.Struct):
    access_token: str


class AppCalls(GraphCalls):
    """The calls `/{app_id}/subscriptions`, `/debug_token` and `/oauth/…`."""

    async def debug_token(self, credentials: Credentials, token: str) -> TokenDetails:
        """Returns Meta's description of `token`.

        `token` is sent in the query because Meta does not read it from any other place. `credentials` must be the
        credentials of the app.
        """
        reply = await self.call("GET", "/debug_token", credentials, query={"input_token": token}, secrets=(token,))
        return responses.convert(reply, _Debugged).data

    async def refresh_token(self, app_id: str, app_secret: str, token: str) -> IssuedToken:
        """Returns a new 60-day token for a system user's valid token. The old token's expiry does not change."""
        query = {
            "grant_type": "fb_exchange_token",
            "client_id": app_id,
            "client_secret": app_secret,
            "set_token_expires_in_60_days": "true",
            "fb_exchange_token": token,
        }
        reply = await self.call("GET", "/oauth/access_token", None, query=query, secrets=(app_secret, token))
        return IssuedToken(responses.convert(reply, _Issued).access_token)

    async def revoke_token(self, app_id: str, app_secret: str, token: str, *, with_token: str) -> None:
        """Revokes `token` at once. The token `with_token` authorises the call.

        Call this method only when the new token is in use everywhere.
        """
        query = {"client_id": app_id, "client_secret": app_secret, "revoke_token": token}
        credentials = Credentials.proven(with_token, app_secret)
        reply = await self.call("GET", "/oauth/revoke", credentials, query=query, secrets=(app_secret, token))
        responses.require_success(reply)

    async def app_subscriptions(self, credentials: Credentials, app_id: str) -> tuple[AppSubscription, ...]:
        """Returns the app's callbacks, one per object. Meta never returns verify tokens."""
        reply = await self.call("GET", "/{app_id}/subscriptions", credentials, ids={"app_id": app_id})
        return tuple(
            AppSubscription(
                each.object,
                each.callback_url,
                each.active,
                tuple(SubscribedField(field) if isinstance(field, str) else field for field in each.fields),
            )
            for each in responses.convert(reply, _AppSubscriptions).data
        )

    async def set_app_subscription(
        self, credentials: Credentials, app_id: str, *, callback_url: str, verify_token: str, fields: Sequence[str]
    ) -> None:
        """Sets the app's callback and all its fields.

        Pass all fields, because it is not known whether Meta keeps the fields that a call leaves out.

        Before Meta answers this call, it sends the callback a request with the verify token. If that check fails,
        Meta refuses this call with error 2200.
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
        responses.require_success(reply)
