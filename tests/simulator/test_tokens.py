"""Tests tokens: inspection, refresh, revocation."""

from typing import Any

import pytest

from .meta import APP, NUMBER, SECRET, TOKEN, WABA, Driver, code

pytestmark = pytest.mark.anyio
APP_TOKEN = f"{APP}|{SECRET}"
CLIENT = {"client_id": APP, "client_secret": SECRET}


async def inspect(simulator: Driver, token: str) -> dict[str, Any]:
    """Returns the data that the app gets about a token."""
    answer = await simulator.graph("GET", "debug_token", token=APP_TOKEN, params={"input_token": token})
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_a_token_is_described_to_its_app(simulator: Driver) -> None:
    """An app can read a token's app, validity, expiry, scopes and accounts. An expiry of 0 means never."""
    await simulator.http.put("/_sim/world", json={"tokens": [{"token": TOKEN, "app_id": APP, "wabas": [WABA]}]})
    data = await inspect(simulator, TOKEN)
    assert (data["app_id"], data["is_valid"], data["expires_at"], data["type"]) == (APP, True, 0, "SYSTEM_USER")
    assert "whatsapp_business_messaging" in data["scopes"]
    assert {"scope": "whatsapp_business_messaging", "target_ids": [WABA]} in data["granular_scopes"]


@pytest.mark.parametrize(
    ("changes", "subcode"), [({"revoked": True}, 467), ({"expires_at": 1.0}, 463), ({"token": "EAAother"}, None)]
)
async def test_an_invalid_token_is_described_as_invalid(
    simulator: Driver, changes: dict[str, Any], subcode: int | None
) -> None:
    """An invalid token is described as invalid. The data contains code 190, and the HTTP status is 200."""
    await simulator.http.put("/_sim/world", json={"tokens": [{"token": TOKEN, "app_id": APP} | changes]})
    data = await inspect(simulator, TOKEN if "token" not in changes else "EAAunknown")
    assert data["is_valid"] is False
    assert data["error"]["code"] == 190
    assert data["error"].get("subcode") == subcode


async def test_an_app_cannot_inspect_the_token_of_another(simulator: Driver) -> None:
    """An app cannot inspect the token of another app. The data then contains code 100."""
    await simulator.http.put("/_sim/world", json={"apps": [{"app_id": "1002", "app_secret": "x"}]})
    answer = await simulator.graph("GET", "debug_token", token="1002|x", params={"input_token": TOKEN})
    assert answer.json()["data"]["error"]["code"] == 100


async def test_a_refresh_returns_a_sixty_day_token_and_the_old_one_stays_valid(simulator: Driver) -> None:
    """A refresh returns a token that is valid for sixty days.

    The old token works until it is revoked, so that no call fails during a rotation.
    """
    expires_at = simulator.simulation.now() + 86_400
    await simulator.http.put(
        "/_sim/world", json={"tokens": [{"token": TOKEN, "app_id": APP, "expires_at": expires_at}]}
    )
    exchange = CLIENT | {
        "grant_type": "fb_exchange_token",
        "set_token_expires_in_60_days": "true",
        "fb_exchange_token": TOKEN,
    }
    new = (await simulator.graph("GET", "oauth/access_token", token=None, params=exchange)).json()
    assert new["token_type"] == "bearer"
    assert 5_000_000 < new["expires_in"] <= 5_184_000
    for token in (TOKEN, new["access_token"]):
        assert code(await simulator.graph("GET", NUMBER, token=token)) == 0
    revoke = CLIENT | {"revoke_token": TOKEN, "access_token": new["access_token"]}
    assert code(await simulator.graph("GET", "oauth/revoke", token=None, params=revoke)) == 0
    assert code(await simulator.graph("GET", NUMBER)) == 190
    assert code(await simulator.graph("GET", NUMBER, token=new["access_token"])) == 0


async def test_an_expired_token_cannot_be_refreshed(simulator: Driver) -> None:
    """The refresh of an expired token gets code 190, even with the right app secret."""
    await simulator.http.put("/_sim/world", json={"tokens": [{"token": TOKEN, "app_id": APP, "expires_at": 1.0}]})
    exchange = CLIENT | {"grant_type": "fb_exchange_token", "fb_exchange_token": TOKEN}
    assert code(await simulator.graph("GET", "oauth/access_token", token=None, params=exchange)) == 190


async def test_an_app_token_needs_the_right_secret(simulator: Driver) -> None:
    """An app token is returned only for the right app secret. A wrong secret gets code 1."""
    right = CLIENT | {"grant_type": "client_credentials"}
    answer = await simulator.graph("GET", "oauth/access_token", token=None, params=right)
    token = answer.json()["access_token"]
    assert code(await simulator.graph("GET", f"{APP}/subscriptions", token=token)) == 0
    wrong = right | {"client_secret": "guess"}
    assert code(await simulator.graph("GET", "oauth/access_token", token=None, params=wrong)) == 1
