"""The client and the simulated Meta agree on every call.

Each of the two was written independently from Meta's pages.
"""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from waypost.cloudapi import messages
from waypost.cloudapi.graph.client import Credentials, File, GraphClient, Override
from waypost.cloudapi.graph.errors import GraphRefused, Verdict
from waypost.cloudapi.graph.numbers import Profile
from waypost.simulator.app import build

from .conftest import Sockets, read_request, response

pytestmark = pytest.mark.anyio

APP, SECRET = "670843887433847", "0123456789abcdef0123456789abcdef"
WABA, NUMBER, NEW_NUMBER = "102290129340398", "106540352242922", "106540352242923"
TOKEN = Credentials.proven("EAAsystemUser", SECRET)
APP_TOKEN = Credentials.of_app(APP, SECRET)
PHONE = "+16505550199"
WORLD = {
    "apps": [{"app_id": APP, "app_secret": SECRET}],
    "accounts": [
        {
            "waba_id": WABA,
            "numbers": [
                {"phone_number_id": NUMBER, "display_phone_number": "+1 555 078 3881", "pin": "123456"},
                {
                    "phone_number_id": NEW_NUMBER,
                    "display_phone_number": "+1 555 078 3882",
                    "status": "PENDING",
                    "code_verification_status": "NOT_VERIFIED",
                },
            ],
            "templates": [{"name": "hello_world", "language": "en_US"}],
        }
    ],
    "tokens": [{"token": TOKEN.token, "app_id": APP}],
}


@pytest.fixture
def simulator() -> Starlette:
    """Returns a simulator that runs in this process."""
    return build()


@pytest.fixture
async def control(simulator: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Yields the simulator's control interface, with a small world."""
    async with (
        simulator.router.lifespan_context(simulator),
        httpx.AsyncClient(transport=httpx.ASGITransport(simulator), base_url="http://graph") as client,
    ):
        seeded = await client.put("/_sim/world", json=WORLD)
        assert seeded.status_code == 200, seeded.text
        yield client


@pytest.fixture
async def simulated(simulator: Starlette, control: httpx.AsyncClient) -> AsyncIterator[GraphClient]:
    """Yields a Graph client that calls the simulator."""
    async with GraphClient("http://graph", "v26.0", transport=httpx.ASGITransport(simulator)) as client:
        yield client


@pytest.fixture
async def received(control: httpx.AsyncClient) -> str:
    """Returns the wamid of a message that a person wrote to the number."""
    written = await control.post("/_sim/inbound", json={"number": NUMBER, "from": PHONE, "text": "Hi"})
    assert written.is_success, written.text
    return str(written.json()["wamid"])


@pytest.fixture
async def callback(sockets: Sockets) -> str:
    """Returns the address of a callback that passes Meta's check."""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await read_request(reader)).split(b" ")[1].decode()
        challenge = parse_qs(urlsplit(target).query)["hub.challenge"][0]
        writer.write(response(challenge.encode(), headers="Connection: close\r\n"))
        await writer.drain()

    return await sockets.listen(answering) + "/hook"


async def test_a_message_is_read_and_answered(simulated: GraphClient, received: str) -> None:
    """The simulated Meta accepts both calls that answer a message: one marks it as read, one sends the reply."""
    await simulated.mark_read(TOKEN, NUMBER, received, typing_indicator=True)
    body = messages.addressed(messages.Text("Hello").payload(), to=PHONE, recipient=None, callback_data="7")
    accepted = await simulated.send(TOKEN, NUMBER, body)
    assert accepted.wamid.startswith("wamid.")


async def test_a_message_outside_the_window_needs_a_template(simulated: GraphClient) -> None:
    """A message outside the window needs a template. A contact who never wrote has no window."""
    body = messages.addressed(messages.Text("Hello").payload(), to="+16505550100", recipient=None, callback_data="7")
    with pytest.raises(GraphRefused) as raised:
        await simulated.send(TOKEN, NUMBER, body)
    assert raised.value.verdict is Verdict.NEEDS_TEMPLATE


async def test_the_life_of_a_subscription(simulated: GraphClient, callback: str) -> None:
    """The app's callback, the account's subscription and the overrides can all be set and removed again.

    First, the app's callback is set and the account is subscribed. Then, the account and the number override the
    callback. At the end, the overrides, the subscription of the account and the app's callback are removed.
    """
    await simulated.set_app_subscription(
        APP_TOKEN, APP, callback_url=callback, verify_token="verify", fields=["messages", "calls"]
    )
    await simulated.subscribe_app(TOKEN, WABA)
    await simulated.subscribe_app(TOKEN, WABA, Override(callback + "/account", "verify"))
    await simulated.override_number_webhook(TOKEN, NUMBER, Override(callback + "/number", "verify"))

    (subscription,) = await simulated.app_subscriptions(APP_TOKEN, APP)
    (app,) = await simulated.subscribed_apps(TOKEN, WABA)
    found = (await simulated.phone_number(TOKEN, NUMBER)).webhook_configuration
    assert found is not None
    assert (subscription.callback_url, [field.name for field in subscription.fields]) == (
        callback,
        ["messages", "calls"],
    )
    assert (app.id, app.override_callback_uri) == (APP, callback + "/account")
    assert (found.phone_number, found.whatsapp_business_account, found.application) == (
        callback + "/number",
        callback + "/account",
        callback,
    )

    await simulated.override_number_webhook(TOKEN, NUMBER, None)
    await simulated.subscribe_app(TOKEN, WABA)
    found = (await simulated.phone_number(TOKEN, NUMBER)).webhook_configuration
    assert found is not None
    assert found.phone_number is None
    await simulated.unsubscribe_app(TOKEN, WABA)
    await simulated.call(
        "DELETE", "/{app_id}/subscriptions", APP_TOKEN, ids={"app_id": APP}, query={"object": subscription.object}
    )
    assert await simulated.app_subscriptions(APP_TOKEN, APP) == ()


async def test_an_override_before_the_subscription_is_refused_with_metas_reason(
    simulated: GraphClient, callback: str
) -> None:
    """An override before the subscription is refused with error 100 and Meta's reason.

    The operator recognises this case of error 100 by the words of the reason.
    """
    with pytest.raises(GraphRefused) as raised:
        await simulated.subscribe_app(TOKEN, WABA, Override(callback, "verify"))
    assert raised.value.code == 100
    assert "your app must be subscribed" in raised.value.details


async def test_a_callback_that_does_not_answer_is_refused_with_2200(simulated: GraphClient, sockets: Sockets) -> None:
    """A callback that does not answer is refused with error 2200.

    The same call works once the callback answers, so a retry makes sense.
    """
    url = await sockets.listen(lambda _reader, _writer: asyncio.sleep(0))
    with pytest.raises(GraphRefused) as raised:
        await simulated.set_app_subscription(
            APP_TOKEN, APP, callback_url=url, verify_token="verify", fields=["messages"]
        )
    assert (raised.value.code, raised.value.verdict) == (2200, Verdict.RETRY)


async def test_the_life_of_a_token(simulated: GraphClient) -> None:
    """A token is inspected, refreshed and replaced. Then the old token is revoked."""
    assert (await simulated.debug_token(APP_TOKEN, TOKEN.token)).is_valid
    fresh = await simulated.refresh_token(APP, SECRET, TOKEN.token)
    await simulated.revoke_token(APP, SECRET, TOKEN.token, with_token=fresh.token)
    details = await simulated.debug_token(APP_TOKEN, TOKEN.token)
    assert (details.is_valid, details.error.code if details.error else 0) == (False, 190)
    assert (await simulated.phone_number(Credentials.proven(fresh.token, SECRET), NUMBER)).id == NUMBER


async def deregister(simulated: GraphClient) -> None:
    """Disconnects the number from the Cloud API."""
    body = {"messaging_product": "whatsapp"}
    await simulated.call("POST", "/{phone_number_id}/deregister", TOKEN, ids={"phone_number_id": NUMBER}, body=body)


async def test_the_life_of_a_number(simulated: GraphClient) -> None:
    """A number can be deregistered, registered with its PIN, changed and read.

    After the registration it gets another PIN. At the end, it is read with its health and its profile.
    """
    await deregister(simulated)
    health = (await simulated.phone_number(TOKEN, NUMBER)).health_status
    assert health is not None
    assert health.can_send_message == "BLOCKED"
    await simulated.register(TOKEN, NUMBER, pin="123456")
    ids = {"phone_number_id": NUMBER}
    await simulated.call("POST", "/{phone_number_id}", TOKEN, ids=ids, body={"pin": "654321"})
    await simulated.call("POST", "/{phone_number_id}", TOKEN, ids=ids, query={"new_display_name": "Shop & Co"})
    await simulated.set_profile(TOKEN, NUMBER, Profile(about="Open daily"))
    number = await simulated.phone_number(TOKEN, NUMBER)
    assert (number.status, number.is_pin_enabled, number.new_name_status) == ("CONNECTED", True, "PENDING_REVIEW")
    assert (await simulated.profile(TOKEN, NUMBER)).about == "Open daily"
    listing = simulated.pages("/{waba_id}/phone_numbers", TOKEN, ids={"waba_id": WABA}, query={"limit": "1"})
    assert len([number async for number in listing]) == 2
    assert (await simulated.account(TOKEN, WABA)).id == WABA


async def test_a_wrong_pin_needs_a_person(simulated: GraphClient) -> None:
    """If the PIN is wrong, a person must correct it. Automatic retries would lock the number."""
    await deregister(simulated)
    with pytest.raises(GraphRefused) as raised:
        await simulated.register(TOKEN, NUMBER, pin="000000")
    assert (raised.value.code, raised.value.verdict) == (133005, Verdict.OPERATOR)


async def test_the_life_of_a_template(simulated: GraphClient) -> None:
    """A template is created, found, changed and deleted."""
    created = await simulated.create_template(
        TOKEN,
        WABA,
        name="spring",
        language="en",
        category="MARKETING",
        components=[{"type": "BODY", "text": "Spring is here."}],
    )
    await simulated.edit_template(TOKEN, created.id, components=[{"type": "BODY", "text": "Spring is near."}])
    assert (await simulated.template(TOKEN, created.id)).components[0]["text"] == "Spring is near."
    assert [each.id async for each in simulated.templates(TOKEN, WABA, name="spring")] == [created.id]
    await simulated.delete_template(TOKEN, WABA, name="spring")
    assert [each.name async for each in simulated.templates(TOKEN, WABA, page_size=1)] == ["hello_world"]


async def test_the_life_of_a_media_object(simulated: GraphClient) -> None:
    """A media object is uploaded, looked up, downloaded and deleted."""
    media_id = await simulated.upload_media(TOKEN, NUMBER, File("a.txt", b"bytes", "text/plain"))
    found = await simulated.media(TOKEN, media_id, phone_number_id=NUMBER)
    content = bytearray()
    await simulated.download_media(TOKEN, found.url, content.extend)
    assert bytes(content) == b"bytes"
    await simulated.delete_media(TOKEN, media_id)
    with pytest.raises(GraphRefused):
        await simulated.media(TOKEN, media_id)
