"""Tests `GET`, by which Meta checks that the callback URL is ours."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from waypost.clients import Throttle

from . import posts
from .service import Webhook, publish_number, serving

pytestmark = pytest.mark.anyio


def query(token: str = posts.TOKEN, *, mode: str = "subscribe", challenge: str = "1158201444") -> dict[str, str]:
    """Returns the query of a handshake."""
    return {"hub.mode": mode, "hub.challenge": challenge, "hub.verify_token": token}


@pytest.mark.parametrize("token", [posts.TOKEN, posts.PREVIOUS_TOKEN])
async def test_the_challenge_is_echoed_for_the_current_and_for_a_previous_token(webhook: Webhook, token: str) -> None:
    """For the current or a previous token, the answer is 200 with the challenge as plain text."""
    response = await webhook.client.get(posts.PATH, params=query(token))
    assert (response.status_code, response.text) == (200, "1158201444")
    assert response.headers["content-type"].startswith("text/plain")


async def test_the_challenge_is_echoed_unchanged(webhook: Webhook) -> None:
    """The challenge is echoed unchanged. Meta's pages call it a number in one place and a string in another.

    No browser may take the answer for HTML.
    """
    challenge = "<b>0012 &+é"
    response = await webhook.client.get(posts.PATH, params=query(challenge=challenge))
    assert response.text == challenge
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.fault("X3")
@pytest.mark.parametrize(
    "asked",
    [
        query("wrong"),
        query(""),
        query(posts.TOKEN + "x"),
        query("\ud800".encode("utf-8", "replace").decode()),
        query(mode="unsubscribe"),
        query(challenge=""),
        {},
    ],
)
async def test_a_wrong_token_is_refused(webhook: Webhook, asked: dict[str, str]) -> None:
    """A request with a wrong token gets 403, and the answer does not contain the challenge."""
    response = await webhook.client.get(posts.PATH, params=asked)
    assert response.status_code == 403
    assert "1158201444" not in response.text


@pytest.mark.parametrize("path", ["/webhooks/team-a/other", "/webhooks/apps/1"])
async def test_an_unknown_route_is_not_found(webhook: Webhook, path: str) -> None:
    """An unknown route gets 404, even if the token is right for another route."""
    assert (await webhook.client.get(path, params=query())).status_code == 404


async def test_an_apps_route_accepts_the_tokens_of_its_numbers(webhook: Webhook) -> None:
    """The callback of an app is verified with a token of any of its numbers."""
    response = await webhook.client.get(f"/webhooks/apps/{posts.APP}", params=query())
    assert response.status_code == 200


@pytest.mark.fault("X3")
async def test_wrong_tokens_never_keep_the_right_one_out(database: Engine, registry_dir: Path) -> None:
    """After too many wrong tokens a wrong one gets 429, and the right one is accepted as before.

    Meta may share its address with a sender of wrong tokens, because all clients of a proxy have one address.
    """
    async with serving(database, registry_dir, throttle=Throttle(limit=3, clock=lambda: 0.0)) as webhook:
        wrong = [(await webhook.client.get(posts.PATH, params=query("wrong"))).status_code for _ in range(5)]
        accepted = await webhook.client.get(posts.PATH, params=query())
    assert (wrong, accepted.status_code) == ([403, 403, 403, 429, 429], 200)


async def test_wrong_tokens_count_for_their_route_only(database: Engine, registry_dir: Path) -> None:
    """Wrong tokens count for their route only. Behind a proxy all clients share one address."""
    publish_number(registry_dir, name="sales", number="200", app_id="9002")
    async with serving(database, registry_dir, throttle=Throttle(limit=1, clock=lambda: 0.0)) as webhook:
        await webhook.client.get(posts.PATH, params=query("wrong"))
        again = await webhook.client.get(posts.PATH, params=query("wrong"))
        other = await webhook.client.get("/webhooks/team-a/sales", params=query("wrong"))
    assert (again.status_code, other.status_code) == (429, 403)


async def test_wrong_signatures_are_throttled_and_good_deliveries_never(database: Engine, registry_dir: Path) -> None:
    """Wrong signatures are throttled, but deliveries with a right signature never are.

    Meta's deliveries may come through the same proxy as those of strangers.
    """
    delivery = posts.delivery(posts.item(posts.wamid()))
    async with serving(database, registry_dir, throttle=Throttle(limit=2, clock=lambda: 0.0)) as webhook:
        bad = [(await webhook.post(delivery, secret="wrong")).status_code for _ in range(4)]
        good = (await webhook.post(delivery)).status_code
    assert (bad, good) == ([400, 400, 429, 429], 200)
