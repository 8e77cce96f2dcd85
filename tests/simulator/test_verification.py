"""Tests that a callback is verified by one GET before the answer, and that a failure is Meta's error 2200."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from .meta import APP, NUMBER, SECRET, WABA, CallbackServer, Driver, code

pytestmark = pytest.mark.anyio


async def subscribe(simulator: Driver, url: str, **changes: str) -> httpx.Response:
    """Subscribes the app with the callback `url`."""
    parameters = {
        "object": "whatsapp_business_account",
        "callback_url": url,
        "verify_token": "abc",
        "fields": "messages",
    }
    return await simulator.graph("POST", f"{APP}/subscriptions", token=f"{APP}|{SECRET}", params=parameters | changes)


async def test_the_callback_is_verified_before_the_subscription_is_confirmed(
    simulator: Driver, callback: CallbackServer
) -> None:
    """The callback is verified before the subscription is confirmed.

    The callback gets `hub.mode`, `hub.challenge` and `hub.verify_token` in addition to the query of its URL.
    """
    answer = await subscribe(simulator, f"{callback.url}?tenant=a%20b&x=1")
    assert answer.json() == {"success": True}
    [query] = callback.challenges
    assert query.pop("hub.challenge").isdigit()
    assert query == {"tenant": "a b", "x": "1", "hub.mode": "subscribe", "hub.verify_token": "abc"}
    [shown] = (await simulator.graph("GET", f"{APP}/subscriptions", token=f"{APP}|{SECRET}")).json()["data"]
    assert shown["callback_url"].endswith("x=1")
    assert shown["fields"] == [{"name": "messages", "version": "v26.0"}]
    assert "verify_token" not in shown


async def _refuses(_request: Request) -> Response:
    return Response(status_code=403)


async def _accepts_with_201(request: Request) -> Response:
    return Response(request.query_params["hub.challenge"], 201)


async def _redirects(_request: Request) -> Response:
    return Response(status_code=302, headers={"location": "/elsewhere"})


async def _answers_otherwise(request: Request) -> Response:
    return Response(request.query_params["hub.challenge"] + "\n")


async def _never_answers(_request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (_refuses, "HTTP Status Code = 403; HTTP Message = Forbidden"),
        (_accepts_with_201, "HTTP Status Code = 201; HTTP Message = Created"),
        (_redirects, "HTTP Status Code = 302; HTTP Message = Found"),
        (_answers_otherwise, "does not match challenge"),
        (_never_answers, "curl_errno = 28"),
    ],
)
async def test_a_callback_that_fails_the_handshake_is_error_2200(
    simulator: Driver, callback: CallbackServer, behaviour: Callable[[Request], Awaitable[Response]], text: str
) -> None:
    """A callback must answer in time with 200 and only the challenge. Otherwise the error is 2200.

    After a failure the old subscription stays.
    """
    await subscribe(simulator, callback.url)
    callback.on_challenge = behaviour
    if behaviour is _never_answers:
        await simulator.http.put("/_sim/behaviour", json={"verification_timeout_s": 0.05})
    answer = await subscribe(simulator, f"{callback.url}/other")
    assert answer.status_code == 400
    assert code(answer) == 2200
    assert answer.json()["error"]["message"].startswith(
        "(#2200) Callback verification failed with the following errors"
    )
    assert text in answer.json()["error"]["message"]
    subscription = simulator.simulation.world.apps[APP].subscription
    assert subscription is not None
    assert subscription.url == callback.url


async def test_a_callback_without_a_listener_is_error_2200(simulator: Driver, free_port: Callable[[], int]) -> None:
    """If nothing listens at the callback's URL, the error is 2200. The message contains curl's error number 7."""
    answer = await subscribe(simulator, f"http://127.0.0.1:{free_port()}/hook")
    assert code(answer) == 2200
    assert "curl_errno = 7" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"object": "page"}, 100),
        ({"object": ""}, 100),
        ({"fields": ""}, 100),
        ({"fields": "messages,telepathy"}, 100),
        ({"callback_url": "hook"}, 100),
        ({"callback_url": "http://[::1"}, 100),
        ({"verify_token": ""}, 100),
    ],
)
async def test_a_subscription_with_a_wrong_parameter_is_code_100(
    simulator: Driver, callback: CallbackServer, changes: dict[str, str], expected: int
) -> None:
    """A subscription with a wrong parameter gets code 100, and the callback is not called."""
    answer = await subscribe(simulator, callback.url, **changes)
    assert code(answer) == expected
    assert callback.challenges == []


async def test_only_the_apps_own_token_may_subscribe_it(simulator: Driver, callback: CallbackServer) -> None:
    """An app can be subscribed only with its own token. The token of a system user gets code 15."""
    assert code(await simulator.graph("POST", f"{APP}/subscriptions", json={"callback_url": callback.url})) == 15


async def test_an_override_needs_a_subscribed_app_and_a_callback_that_answers(
    simulator: Driver, callback: CallbackServer
) -> None:
    """An override gets code 100 if the app is not yet subscribed to the account.

    If the callback refuses the verification, the code is 2200.
    """
    override = {"override_callback_uri": callback.url, "verify_token": "abc"}
    early = await simulator.graph("POST", f"{WABA}/subscribed_apps", json=override)
    assert code(early) == 100
    assert "must be subscribed" in early.json()["error"]["message"]
    await simulator.graph("POST", f"{WABA}/subscribed_apps")
    callback.on_challenge = _refuses
    assert code(await simulator.graph("POST", f"{WABA}/subscribed_apps", json=override)) == 2200
    callback.on_challenge = None
    assert code(await simulator.graph("POST", f"{WABA}/subscribed_apps", json=override)) == 0
    [shown] = (await simulator.graph("GET", f"{WABA}/subscribed_apps")).json()["data"]
    assert shown["override_callback_uri"] == callback.url
    await simulator.graph("POST", f"{WABA}/subscribed_apps")
    [shown] = (await simulator.graph("GET", f"{WABA}/subscribed_apps")).json()["data"]
    assert "override_callback_uri" not in shown


async def test_a_numbers_own_callback_is_verified_shown_and_removed(
    simulator: Driver, callback: CallbackServer
) -> None:
    """A number's own callback is verified and then shown in `webhook_configuration`. An empty URI removes it."""
    await simulator.graph("POST", f"{WABA}/subscribed_apps")
    configuration = {"override_callback_uri": callback.url, "verify_token": "abc"}
    answer = await simulator.graph("POST", NUMBER, json={"webhook_configuration": configuration})
    assert answer.json() == {"success": True}
    assert callback.challenges[0]["hub.verify_token"] == "abc"
    shown = await simulator.graph("GET", NUMBER, params={"fields": "webhook_configuration"})
    assert shown.json()["webhook_configuration"] == {"phone_number": callback.url}
    await simulator.graph("POST", NUMBER, json={"webhook_configuration": {"override_callback_uri": ""}})
    assert "webhook_configuration" not in (await simulator.graph("GET", NUMBER)).json()


async def test_an_override_longer_than_200_characters_is_refused(simulator: Driver, callback: CallbackServer) -> None:
    """An override that is longer than 200 characters gets code 100, and the callback is not called."""
    await simulator.graph("POST", f"{WABA}/subscribed_apps")
    override = {"override_callback_uri": f"{callback.url}/{'x' * 200}", "verify_token": "abc"}
    assert code(await simulator.graph("POST", f"{WABA}/subscribed_apps", json=override)) == 100
    assert callback.challenges == []
