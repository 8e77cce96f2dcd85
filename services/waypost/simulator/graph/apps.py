"""Calls on an app: its webhook subscription, and its tokens."""

import hmac
import secrets
from typing import Any

import msgspec

from waypost.simulator.graph.call import Call, Caller, authenticate
from waypost.simulator.graph.handshake import verify
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.values import Scope
from waypost.simulator.world.world import SUBSCRIBABLE, App, Subscription, Token

OBJECT = "whatsapp_business_account"
SIXTY_DAYS_S = 5_184_000
TRUE = frozenset({"true", "1"})


def _check_object(call: Call, *, required: bool) -> None:
    name = call.text("object", required=required)
    if name is not None and name != OBJECT:
        raise Refusal(100, message=f"(#100) Param object must be one of {{{OBJECT.upper()}}}.")


def _field_names(call: Call) -> list[str]:
    given = call.parameters.get("fields")
    listed = given if isinstance(given, list) else str(given or "").split(",")
    names = [str(name).strip() for name in listed if str(name).strip()]
    for index, name in enumerate(names):
        if name not in SUBSCRIBABLE:
            raise Refusal(100, message=f"(#100) Param fields[{index}] is not a field of {OBJECT}: {name}.")
    return names


async def subscribe(sim: Simulation, call: Call, caller: Caller, app: App) -> dict[str, Any]:
    """Verifies the callback, then replaces the app's subscription.

    If the verification fails, the old subscription stays.
    """
    caller.require_app(app.app_id)
    _check_object(call, required=True)
    names = _field_names(call)
    if not names:
        raise Refusal(100, message="(#100) The parameter fields is required.")
    url = call.text("callback_url", required=True)
    verify_token = call.text("verify_token", required=True)
    assert url is not None
    assert verify_token is not None
    await verify(sim, url, verify_token)
    app.subscription = Subscription(
        url=url, verify_token=verify_token, fields=dict.fromkeys(dict.fromkeys(names), call.version)
    )
    return {"success": True}


async def subscription(_sim: Simulation, _call: Call, caller: Caller, app: App) -> dict[str, Any]:
    """Returns the subscription, without its verify token."""
    caller.require_app(app.app_id)
    found = app.subscription
    if found is None:
        return {"data": []}
    fields = [{"name": name, "version": version} for name, version in found.fields.items()]
    return {"data": [{"object": OBJECT, "callback_url": found.url, "active": True, "fields": fields}]}


async def unsubscribe(_sim: Simulation, call: Call, caller: Caller, app: App) -> dict[str, Any]:
    """Deletes the subscription, or only some fields of it."""
    caller.require_app(app.app_id)
    _check_object(call, required=False)
    names = _field_names(call)
    if app.subscription is not None:
        for name in names:
            app.subscription.fields.pop(name, None)
        if not names or not app.subscription.fields:
            app.subscription = None
    return {"success": True}


async def node(_sim: Simulation, _call: Call, caller: Caller, app: App) -> dict[str, Any]:
    """Returns the fields of the app."""
    if caller.app.app_id != app.app_id:
        raise Refusal(200)
    return {"id": app.app_id, "name": app.name, "link": f"https://www.facebook.com/games/?app_id={app.app_id}"}


async def debug_token(sim: Simulation, call: Call) -> dict[str, Any]:
    """Describes a token. An invalid token is not refused. Its description says that it is invalid."""
    caller = authenticate(sim.world, call, sim.now())
    inspected = call.text("input_token", required=True)
    assert inspected is not None
    token = sim.world.tokens.get(inspected)
    if token is None:
        app_id, _, secret = inspected.partition("|")
        if app_id == caller.app.app_id and hmac.compare_digest(secret.encode(), caller.app.app_secret.encode()):
            data = {"app_id": app_id, "type": "APP", "application": caller.app.name, "is_valid": True, "scopes": []}
            return {"data": data}
        return {"data": _invalid(190, "Invalid OAuth access token - Cannot parse access token")}
    if token.app_id != caller.app.app_id:
        return {"data": _invalid(100, "(#100) The App_id in the input_token did not match the Viewing App")}
    data = _described(token, caller.app)
    if token.revoked:
        data |= _invalid(190, "Error validating access token: The session has been invalidated.", 467)
    elif token.expires_at and token.expires_at <= sim.now():
        data |= _invalid(190, "Error validating access token: Session has expired.", 463)
    return {"data": data}


def _invalid(code: int, message: str, subcode: int | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if subcode is not None:
        error["subcode"] = subcode
    return {"is_valid": False, "error": error, "scopes": []}


def _described(token: Token, app: App) -> dict[str, Any]:
    scopes = []
    for scope in token.scopes:
        granular: dict[str, Any] = {"scope": scope}
        if token.wabas is not None and scope != Scope.BUSINESS:
            granular["target_ids"] = list(token.wabas)
        scopes.append(granular)
    return {
        "app_id": token.app_id,
        "type": "SYSTEM_USER",
        "application": app.name,
        "data_access_expires_at": 0,
        "expires_at": int(token.expires_at),
        "is_valid": True,
        "issued_at": int(token.issued_at),
        "scopes": list(token.scopes),
        "granular_scopes": scopes,
        "user_id": token.user_id,
    }


def _client(sim: Simulation, call: Call) -> App:
    client_id = call.text("client_id", required=True)
    secret = call.text("client_secret", required=True)
    app = sim.world.apps.get(client_id or "")
    if app is None:
        raise Refusal(101, message="Error validating application. Cannot get application info due to a system error.")
    if not hmac.compare_digest(app.app_secret.encode(), (secret or "").encode()):
        raise Refusal(1, message="Error validating client secret.", status=400)
    return app


async def access_token(sim: Simulation, call: Call) -> dict[str, Any]:
    """Returns an app token, or exchanges an unexpired token for a new one that is valid for 60 days.

    The old token keeps its own expiry.
    """
    app = _client(sim, call)
    kind = call.text("grant_type", required=True)
    if kind == "client_credentials":
        return {"access_token": f"{app.app_id}|{app.app_secret}", "token_type": "bearer"}
    if kind != "fb_exchange_token":
        raise Refusal(100, message="(#100) Param grant_type must be one of {client_credentials, fb_exchange_token}.")
    old = sim.world.tokens.get(call.text("fb_exchange_token", required=True) or "")
    if old is None or old.app_id != app.app_id or old.revoked:
        raise Refusal(190, message="Invalid OAuth access token - Cannot parse access token")
    now = sim.now()
    if old.expires_at and old.expires_at <= now:
        raise Refusal(190, message="Error validating access token: Session has expired.", subcode=463)
    never_expires = (call.text("set_token_expires_in_60_days") or "").lower() not in TRUE and not old.expires_at
    new = msgspec.structs.replace(
        old,
        token="EAA" + secrets.token_urlsafe(120).replace("-", "Z").replace("_", "Z"),
        issued_at=now,
        expires_at=0.0 if never_expires else now + SIXTY_DAYS_S,
    )
    sim.world.tokens[new.token] = new
    answer = {"access_token": new.token, "token_type": "bearer"}
    return answer if never_expires else answer | {"expires_in": SIXTY_DAYS_S}


async def revoke(sim: Simulation, call: Call) -> dict[str, Any]:
    """Makes a token permanently invalid."""
    app = _client(sim, call)
    caller = authenticate(sim.world, call, sim.now())
    token = sim.world.tokens.get(call.text("revoke_token", required=True) or "")
    if token is None or token.app_id != app.app_id or caller.app is not app:
        raise Refusal(190, message="Invalid OAuth access token - Cannot parse access token")
    token.revoked = True
    return {"success": True}
