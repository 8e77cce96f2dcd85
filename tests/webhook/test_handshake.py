"""GET: Meta's question whether the callback URL is ours."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from waypost.webhook.throttle import Throttle

from . import posts
from .service import Webhook, publish_number, serving

pytestmark = pytest.mark.anyio


def question(token: str = posts.TOKEN, *, mode: str = "subscribe", challenge: str = "1158201444") -> dict[str, str]:
    """The query of a handshake."""
    return {"hub.mode": mode, "hub.challenge": challenge, "hub.verify_token": token}


@pytest.mark.parametrize("token", [posts.TOKEN, posts.PREVIOUS_TOKEN])
async def test_the_challenge_is_echoed_for_the_current_and_for_a_previous_token(webhook: Webhook, token: str) -> None:
    """200 with the challenge as plain text."""
    response = await webhook.client.get(posts.PATH, params=question(token))
    assert (response.status_code, response.text) == (200, "1158201444")
    assert response.headers["content-type"].startswith("text/plain")


async def test_the_challenge_is_opaque(webhook: Webhook) -> None:
    """Meta's pages call it a number here and a string there; it is echoed as it came, and never as HTML."""
    challenge = "<b>0012 &+é"
    response = await webhook.client.get(posts.PATH, params=question(challenge=challenge))
    assert response.text == challenge
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "query",
    [
        question("wrong"),
        question(""),
        question(posts.TOKEN + "x"),
        question("\ud800".encode("utf-8", "replace").decode()),
        question(mode="unsubscribe"),
        question(challenge=""),
        {},
    ],
)
async def test_whoever_does_not_know_the_token_is_refused(webhook: Webhook, query: dict[str, str]) -> None:
    """403, with nothing echoed."""
    response = await webhook.client.get(posts.PATH, params=query)
    assert response.status_code == 403
    assert "1158201444" not in response.text


@pytest.mark.parametrize("path", ["/webhooks/team-a/other", "/webhooks/apps/1"])
async def test_a_route_that_nobody_has_is_not_found(webhook: Webhook, path: str) -> None:
    """404, though the token would be right elsewhere."""
    assert (await webhook.client.get(path, params=question())).status_code == 404


async def test_an_apps_route_knows_the_tokens_of_its_numbers(webhook: Webhook) -> None:
    """The callback of an app is verified with a token of any of its numbers."""
    response = await webhook.client.get(f"/webhooks/apps/{posts.APP}", params=question())
    assert response.status_code == 200


async def test_after_too_many_wrong_tokens_none_is_heard(database: Engine, registry_dir: Path) -> None:
    """429 even for the right one, or guesses beyond the limit would still be tried; a minute later it is heard."""
    now = [0.0]
    async with serving(database, registry_dir, throttle=Throttle(limit=3, clock=lambda: now[0])) as webhook:
        for _ in range(3):
            assert (await webhook.client.get(posts.PATH, params=question("wrong"))).status_code == 403
        refused = await webhook.client.get(posts.PATH, params=question())
        now[0] += 61
        heard = await webhook.client.get(posts.PATH, params=question())
    assert (refused.status_code, heard.status_code) == (429, 200)


async def test_guessing_at_one_route_does_not_close_another(database: Engine, registry_dir: Path) -> None:
    """Behind a proxy all share an address, so a failure counts for its route only."""
    publish_number(registry_dir, name="sales", number="200", app_id="9002")
    async with serving(database, registry_dir, throttle=Throttle(limit=1)) as webhook:
        await webhook.client.get(posts.PATH, params=question("wrong"))
        closed = await webhook.client.get(posts.PATH, params=question())
        other = await webhook.client.get("/webhooks/team-a/sales", params=question())
    assert (closed.status_code, other.status_code) == (429, 200)


async def test_wrong_signatures_are_throttled_and_good_deliveries_never(database: Engine, registry_dir: Path) -> None:
    """Meta's deliveries come from the same proxy as everybody's."""
    delivery = posts.delivery(posts.item(posts.wamid()))
    async with serving(database, registry_dir, throttle=Throttle(limit=2)) as webhook:
        bad = [(await webhook.post(delivery, secret="wrong")).status_code for _ in range(4)]
        good = (await webhook.post(delivery)).status_code
    assert (bad, good) == ([400, 400, 429, 429], 200)
