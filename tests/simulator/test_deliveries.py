"""Tests deliveries: routing, signature, batches, retries."""

import asyncio
import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from waypost.simulator.world.deliveries import OVERRIDABLE, Update, body, route
from waypost.simulator.world.world import Account, App, Callback, Number, Subscription, World

from .meta import APP, NUMBER, SECRET, USER, WABA, CallbackServer, Driver, until, values

pytestmark = pytest.mark.anyio


def _world(*, number_callback: bool, account_callback: bool, fields: tuple[str, ...]) -> World:
    world = World(1)
    subscription = Subscription(url="app", verify_token="t", fields=dict.fromkeys(fields, "v26.0"))
    world.apps["1"] = App(app_id="1", app_secret="s", subscription=subscription)
    override = Callback(url="account", verify_token="t") if account_callback else None
    world.accounts["2"] = Account(waba_id="2", numbers=["3"], subscribers={"1": override})
    own = {"1": Callback(url="number", verify_token="t")} if number_callback else {}
    world.numbers["3"] = Number(phone_number_id="3", waba_id="2", display_phone_number="+39", callbacks=own)
    return world


@pytest.mark.parametrize(
    ("field", "number_callback", "account_callback", "expected"),
    [
        *((field, True, True, "number") for field in sorted(OVERRIDABLE)),
        *((field, False, True, "account") for field in sorted(OVERRIDABLE)),
        *((field, False, False, "app") for field in sorted(OVERRIDABLE)),
        ("message_template_status_update", True, True, "app"),
        ("account_update", True, True, "app"),
        ("user_preferences", True, True, "app"),
        ("phone_number_quality_update", True, True, "app"),
    ],
)
def test_a_numbers_callback_comes_before_the_accounts_and_that_before_the_apps(
    field: str, number_callback: bool, account_callback: bool, expected: str
) -> None:
    """A number's callback comes before the account's, and the account's before the app's.

    This holds for fields that can be overridden. Template and account fields always go to the app's callback.
    """
    world = _world(number_callback=number_callback, account_callback=account_callback, fields=(field,))
    update = Update(waba_id="2", phone_number_id="3", field=field, part=None, item=b"{}")
    assert [url for _, url in route(world, update)] == [expected]


def test_a_field_that_is_not_subscribed_goes_nowhere() -> None:
    """An update of a field that the app has not subscribed to goes nowhere, even if there is an override."""
    world = _world(number_callback=True, account_callback=True, fields=("messages",))
    update = Update(waba_id="2", phone_number_id="3", field="history", part=None, item=b"{}")
    assert route(world, update) == []


def test_updates_of_several_accounts_and_numbers_share_a_body_in_order() -> None:
    """Consecutive updates of one account share an entry.

    Updates of one number and one field share one change inside this entry. The next update of a different field gets
    a separate change.
    """

    def item(waba: str, number: str, part: str, identifier: str) -> Update:
        return Update(
            waba_id=waba,
            phone_number_id=number,
            field="messages",
            part=part,
            item=msgspec.json.encode({"id": identifier}),
            metadata=msgspec.json.encode({"phone_number_id": number}),
        )

    template = Update(
        waba_id="A",
        phone_number_id=None,
        field="message_template_status_update",
        part=None,
        item=b'{"event":"X"}',
        at=7,
    )
    raw = body(
        [
            item("A", "1", "messages", "m1"),
            item("A", "1", "messages", "m2"),
            item("A", "1", "statuses", "s1"),
            item("A", "2", "statuses", "s2"),
            template,
            item("B", "3", "messages", "m3"),
        ]
    )
    decoded = msgspec.json.decode(raw)
    assert [entry["id"] for entry in decoded["entry"]] == ["A", "B"]
    assert decoded["entry"][0]["time"] == 7
    assert "time" not in decoded["entry"][1]
    found = [
        [one["id"] for one in value.get("messages", value.get("statuses", [])) if isinstance(one, dict)]
        for value in values(raw)
    ]
    assert found == [["m1", "m2"], ["s1"], ["s2"], [], ["m3"]]


async def test_a_delivery_is_signed_over_its_exact_bytes(simulator: Driver, callback: CallbackServer) -> None:
    """A delivery is signed over its exact bytes.

    The signature is an HMAC-SHA256 with the app secret at the time of the delivery.
    """
    await simulator.subscribe(callback.url)
    await simulator.inbound(text="caffè ☕ </script>")
    simulator.simulation.world.apps[APP].app_secret = "rotated"
    await simulator.inbound()
    for secret, raw, signature in zip((SECRET, "rotated"), callback.bodies, callback.signatures, strict=True):
        assert signature == "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


async def test_an_inbound_message_has_the_form_of_metas(simulator: Driver, callback: CallbackServer) -> None:
    """An inbound message has the same form as Meta's: object, entry, change, metadata, contact and message.

    The timestamp is a string.
    """
    await simulator.subscribe(callback.url)
    answer = await simulator.inbound(name="Ada")
    assert (answer["deliveries"], answer["accepted"]) == (1, 1)
    decoded = msgspec.json.decode(callback.bodies[0])
    assert decoded["object"] == "whatsapp_business_account"
    assert decoded["entry"][0]["id"] == WABA
    [value] = values(callback.bodies[0])
    assert value["metadata"] == {"display_phone_number": "39025550123", "phone_number_id": NUMBER}
    assert value["contacts"] == [{"profile": {"name": "Ada"}, "wa_id": "393331112223", "user_id": answer["user_id"]}]
    [message] = value["messages"]
    assert message.pop("timestamp").isdigit()
    assert message == {
        "from": "393331112223",
        "from_user_id": answer["user_id"],
        "id": answer["wamid"],
        "type": "text",
        "text": {"body": "hi"},
    }


async def test_a_user_without_a_phone_has_a_bsuid_only(simulator: Driver, callback: CallbackServer) -> None:
    """A user without a phone has a BSUID only. The fields `from` and `wa_id` are absent, not empty."""
    await simulator.subscribe(callback.url)
    await simulator.inbound(**{"from": {"user_id": "IT.77", "name": "Ada", "username": "ada"}})
    [value] = values(callback.bodies[0])
    assert value["contacts"] == [{"profile": {"name": "Ada", "username": "ada"}, "user_id": "IT.77"}]
    assert "from" not in value["messages"][0]
    assert value["messages"][0]["from_user_id"] == "IT.77"


async def test_without_a_subscription_nothing_is_delivered_and_the_reply_says_why(simulator: Driver) -> None:
    """Without a subscription nothing is delivered, and the reply says why. Meta gives no such reason."""
    answer = await simulator.inbound()
    assert answer["deliveries"] == 0
    assert "subscribed" in answer["hint"]


@pytest.mark.parametrize("status", [201, 204, 302, 400, 500])
async def test_a_delivery_is_repeated_until_it_gets_a_200(
    simulator: Driver, callback: CallbackServer, status: int
) -> None:
    """A delivery is repeated until it gets the status 200. Each attempt has the same bytes."""
    await simulator.subscribe(callback.url)
    callback.answers = [status, status, status]
    answer = await simulator.inbound()
    assert answer["accepted"] == 0
    await until(lambda: len(callback.bodies) == 4)
    await until(lambda: simulator.simulation.delivery_sender.waiting == 0)
    assert len(set(callback.bodies)) == 1
    shown = (await simulator.http.get("/_sim/deliveries")).json()
    assert [attempt["status"] for attempt in shown] == [status, status, status, 200]
    assert [attempt["attempt"] for attempt in shown] == [1, 2, 3, 4]
    refused = (await simulator.http.get("/_sim/deliveries", params={"refused": "1"})).json()
    assert len(refused) == 3


async def test_a_callback_that_is_away_gets_the_delivery_once_it_is_back(
    simulator: Driver, callback: CallbackServer
) -> None:
    """A refused connection is a failed attempt, which is recorded without a status.

    Once the callback is back, it gets the delivery.
    """
    await simulator.subscribe(callback.url)
    subscription = simulator.simulation.world.apps[APP].subscription
    assert subscription is not None
    subscription.url = "http://127.0.0.1:9/hook"
    answer = await simulator.inbound()
    assert answer["attempts"][0]["status"] is None
    assert answer["attempts"][0]["error"] == "ConnectError"
    subscription.url = callback.url
    await until(lambda: [item["id"] for item in callback.items("messages")] == [answer["wamid"]])


async def test_after_seven_days_a_delivery_is_given_up(simulator: Driver, callback: CallbackServer) -> None:
    """After seven days of the simulated clock a delivery is given up."""
    await simulator.subscribe(callback.url)
    callback.answers = [500] * 10_000
    await simulator.inbound()
    await simulator.http.post("/_sim/clock", json={"advance_s": 7 * 86_400 + 1})
    await until(lambda: simulator.simulation.delivery_sender.dropped == 1)
    assert simulator.simulation.delivery_sender.waiting == 0


async def test_updates_that_wait_for_a_delivery_share_the_next_one(simulator: Driver, callback: CallbackServer) -> None:
    """While one delivery is in flight, the next body collects all new updates, up to the limit."""
    await simulator.http.put("/_sim/behaviour", json={"delivery_concurrency": 1, "batch_max": 3})
    await simulator.subscribe(callback.url)
    callback.gate = asyncio.Event()
    for index in range(6):
        await simulator.inbound(text=str(index), wait=False)
    callback.gate.set()
    await until(lambda: len(callback.items("messages")) == 6)
    sizes = [sum(len(value["messages"]) for value in values(raw)) for raw in callback.bodies]
    assert sizes == [1, 3, 2]
    assert [item["text"]["body"] for item in callback.items("messages")] == list("012345")


async def test_deliveries_are_concurrent(simulator: Driver, callback: CallbackServer) -> None:
    """Several deliveries are in flight at once, up to a limit, so a slow answer does not delay the others."""
    await simulator.subscribe(callback.url)
    callback.gate = asyncio.Event()
    for _ in range(3):
        await simulator.inbound(wait=False)
    queue = next(iter(simulator.simulation.delivery_sender._queues.values()))
    assert queue.in_flight == 3
    callback.gate.set()
    await until(lambda: len(callback.bodies) == 3)


async def test_a_message_can_be_delivered_several_times(simulator: Driver, callback: CallbackServer) -> None:
    """A message can be delivered several times.

    `times` repeats one message, `duplicates` repeats all messages, and `redeliver` repeats earlier bodies.
    """
    await simulator.subscribe(callback.url)
    await simulator.inbound(times=3)
    await until(lambda: len(callback.items("messages")) == 3)
    await simulator.http.put("/_sim/behaviour", json={"duplicates": 1})
    await simulator.inbound()
    await until(lambda: len(callback.items("messages")) == 5)
    await until(lambda: len(simulator.simulation.delivery_sender.attempts) == len(callback.bodies))
    before = len(callback.bodies)
    answer = await simulator.http.post("/_sim/redeliver", json={"count": 2, "times": 2, "shuffle": True})
    assert answer.json() == {"queued": 4}
    await until(lambda: len(callback.bodies) == before + 4)


async def test_the_last_bodies_can_be_read(simulator: Driver, callback: CallbackServer) -> None:
    """The last bodies can be read exactly as they were posted."""
    await simulator.subscribe(callback.url)
    await simulator.inbound(text="caffè")
    [attempt] = (await simulator.http.get("/_sim/deliveries", params={"body": "1"})).json()
    assert attempt["body"].encode() == callback.bodies[0]


async def test_every_subscribed_app_gets_the_update_signed_with_its_own_secret(
    simulator: Driver, callback: CallbackServer
) -> None:
    """Every subscribed app gets the update, signed with its own secret.

    A retry goes to all apps, so an app that has already answered gets a duplicate.
    """
    await simulator.http.put("/_sim/world", json={"apps": [{"app_id": "1002", "app_secret": "other"}]})
    await simulator.subscribe(f"{callback.url}/one")
    await simulator.subscribe(f"{callback.url}/two", app="1002", secret="other")
    await simulator.http.put("/_sim/behaviour", json={"delivery_concurrency": 1})
    callback.answers = [500]
    await simulator.inbound()
    await until(lambda: len(callback.bodies) == 4)
    assert sorted(callback.paths) == ["/hook/one", "/hook/one", "/hook/two", "/hook/two"]
    for path, raw, signature in zip(callback.paths, callback.bodies, callback.signatures, strict=True):
        secret = b"s3cret" if path.endswith("one") else b"other"
        assert signature == "sha256=" + hmac.new(secret, raw, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"text": None}, 422),
        ({"message": {"type": "text"}}, 422),
        ({"number": "4711"}, 404),
        ({"from": "3331112223"}, 422),
        ({"from": {"name": "Ada"}}, 422),
        ({"txt": "hi"}, 422),
    ],
)
async def test_an_invalid_inbound_message_is_refused(simulator: Driver, changes: dict[str, Any], status: int) -> None:
    """An invalid inbound message is refused with a reason."""
    body = {"number": NUMBER, "from": USER, "text": "hi"} | changes
    answer = await simulator.http.post("/_sim/inbound", json={k: v for k, v in body.items() if v is not None})
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_a_reset_forgets_traffic_and_keeps_the_world_unless_asked(
    simulator: Driver, callback: CallbackServer
) -> None:
    """A reset deletes messages, users, faults and deliveries and resets the clock.

    Numbers and subscriptions stay unless the reset asks for `world`.
    """
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    await simulator.send()
    await simulator.http.post("/_sim/faults", json={"code": 130429})
    await simulator.http.post("/_sim/reset", json={})
    assert (await simulator.http.get("/_sim/sent")).json() == []
    assert (await simulator.http.get("/_sim/deliveries")).json() == []
    assert (await simulator.http.get("/_sim/faults")).json() == []
    [subscription] = (await simulator.http.get("/_sim/subscriptions")).json()
    assert subscription["callback_url"] == callback.url
    await simulator.http.post("/_sim/reset", json={"world": True})
    assert (await simulator.http.get("/_sim/world")).json() == {"apps": [], "accounts": []}


async def test_no_secret_leaves_through_the_control_routes(simulator: Driver, callback: CallbackServer) -> None:
    """The control routes show no app secret, token or verify token, because others may see the screen."""
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    for path in ("world", "subscriptions", "deliveries?body=1", "sent", "behaviour", "faults"):
        shown = (await simulator.http.get(f"/_sim/{path}")).text
        assert not [secret for secret in (SECRET, "EAAtoken", '"vt"') if secret in shown], path


async def test_a_page_of_another_site_cannot_control_the_simulator(simulator: Driver) -> None:
    """Control calls from other sites are refused. The browser names the site from which a request comes."""
    answer = await simulator.http.post("/_sim/reset", headers={"sec-fetch-site": "cross-site"}, json={})
    assert answer.status_code == 403
