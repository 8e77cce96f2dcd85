"""Tests the statuses of messages that were sent."""

import asyncio
from typing import Any

import pytest

from waypost.simulator.world.history import Sent
from waypost.simulator.world.statuses import DueStatus, StatusSchedule
from waypost.simulator.world.values import SendStatus
from waypost.simulator.world.world import User

from ..manual_loop import ManualLoop
from .meta import NOW, NUMBER, USER, WABA, CallbackServer, Driver, until

pytestmark = pytest.mark.anyio
SENT = Sent(
    seq=1,
    wamid="wamid.1",
    phone_number_id=NUMBER,
    waba_id=WABA,
    to=USER,
    user=User(phone=None, user_id="IT.1", name="Ada"),
    by_user_id=True,
    type="text",
    body={},
    context=None,
    time=NOW,
    callback_data=None,
    category="service",
    billable=False,
)
DUE: DueStatus = (SENT, SendStatus.SENT, NOW, None)


async def accepted(simulator: Driver, **changes: Any) -> str:
    """Sends a message and returns its wamid."""
    answer = await simulator.send(**changes)
    assert answer.status_code == 200, answer.text
    wamid: str = answer.json()["messages"][0]["id"]
    return wamid


async def test_an_accepted_message_is_sent_then_delivered_then_read(
    simulator: Driver, callback: CallbackServer
) -> None:
    """An accepted message gets the statuses `sent`, `delivered` and `read`. All three have the callback data.

    `sent` and `delivered` have a price. `/_sim/sent` shows the last status.
    """
    await simulator.http.put("/_sim/behaviour", json={"delivery_concurrency": 1})
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    wamid = await accepted(simulator, biz_opaque_callback_data="row-7")
    await until(lambda: len(callback.items("statuses")) == 3)
    statuses = callback.items("statuses")
    assert [item["status"] for item in statuses] == ["sent", "delivered", "read"]
    assert {item["biz_opaque_callback_data"] for item in statuses} == {"row-7"}
    assert {item["recipient_id"] for item in statuses} == {"393331112223"}
    assert not any("recipient_user_id" in item for item in statuses)
    assert ["pricing" in item for item in statuses] == [True, True, False]
    assert statuses[0]["pricing"] == {
        "billable": False,
        "pricing_model": "PMP",
        "category": "service",
        "type": "free_customer_service",
    }
    [shown] = (await simulator.http.get("/_sim/sent")).json()
    assert (shown["wamid"], shown["status"]) == (wamid, "read")


async def test_the_1001st_service_message_of_a_number_is_billed(simulator: Driver, callback: CallbackServer) -> None:
    """The first 1,000 service messages of a number are free, and the next one is billed."""
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    simulator.simulation.free_service[NUMBER] = 1000
    await accepted(simulator)
    await until(lambda: len(callback.items("statuses")) == 3)
    priced = [item["pricing"] for item in callback.items("statuses") if "pricing" in item]
    assert {(price["billable"], price["type"]) for price in priced} == {(True, "regular")}


async def test_statuses_of_a_message_to_a_bsuid_name_the_bsuid(simulator: Driver, callback: CallbackServer) -> None:
    """Statuses of a message to a BSUID have `recipient_user_id` and no `recipient_id`."""
    await simulator.subscribe(callback.url)
    await simulator.inbound(**{"from": "IT.42"})
    body = {"messaging_product": "whatsapp", "recipient": "IT.42", "text": {"body": "x"}}
    assert (await simulator.send(body)).status_code == 200
    await until(lambda: len(callback.items("statuses")) == 3)
    assert {item["recipient_user_id"] for item in callback.items("statuses")} == {"IT.42"}
    assert not any("recipient_id" in item for item in callback.items("statuses"))


def test_statuses_that_are_due_within_one_tick_are_delivered_together() -> None:
    """Statuses that are due within one tick are delivered together, so many messages need few deliveries."""
    released: list[int] = []

    async def scenario(loop: ManualLoop) -> None:
        schedule = StatusSchedule(lambda due: released.append(len(due)), lambda: 1.0)
        for _ in range(40):
            for after_s in (0.0, 0.5, 1.5):
                schedule.add(after_s, DUE)
        for _ in range(3):
            loop.advance(1.0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=ManualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ManualLoop)
        runner.run(scenario(loop))
    assert released == [80, 40]


async def test_many_statuses_share_few_bodies(simulator: Driver, callback: CallbackServer) -> None:
    """Statuses that become due while a delivery is in flight share the next body."""
    await simulator.http.put("/_sim/behaviour", json={"delivery_concurrency": 1, "read_after_s": None})
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    callback.gate = asyncio.Event()
    for _ in range(40):
        await accepted(simulator)
    await until(lambda: simulator.simulation.delivery_sender.waiting == 80)
    callback.gate.set()
    await until(lambda: len(callback.items("statuses")) == 80)
    assert len(callback.bodies) <= 3


async def test_a_refusal_outside_the_window_may_come_as_a_failed_status(
    simulator: Driver, callback: CallbackServer
) -> None:
    """With `window_refusal`, a message outside the window is refused by a `failed` status instead of an error.

    Meta does both. A `failed` status has errors and no contacts.
    """
    await simulator.http.put("/_sim/behaviour", json={"window_refusal": "status"})
    await simulator.subscribe(callback.url)
    await accepted(simulator)
    await until(lambda: len(callback.items("statuses")) == 1)
    [item] = callback.items("statuses")
    assert item["status"] == "failed"
    assert item["errors"][0]["code"] == 131047
    assert b'"contacts"' not in callback.bodies[0]


async def test_any_status_can_be_delivered_for_any_message(simulator: Driver, callback: CallbackServer) -> None:
    """`/_sim/status` can deliver any status for any message.

    The status may be out of order or `failed` with a code. The message may be one that was never accepted here.
    """
    await simulator.http.put(
        "/_sim/behaviour", json={"sent_after_s": None, "delivered_after_s": None, "read_after_s": None}
    )
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    wamid = await accepted(simulator)
    await simulator.http.post("/_sim/status", json={"wamid": wamid, "status": "read"})
    await simulator.http.post("/_sim/status", json={"wamid": wamid, "status": "sent", "times": 2})
    await until(lambda: len(callback.items("statuses")) == 3)
    [shown] = (await simulator.http.get("/_sim/sent")).json()
    assert shown["status"] == "read"
    unseen = {"wamid": "wamid.elsewhere", "status": "failed", "code": 131026}
    assert (await simulator.http.post("/_sim/status", json=unseen)).status_code == 404
    request = unseen | {"number": NUMBER, "to": USER, "callback_data": "row-9"}
    assert (await simulator.http.post("/_sim/status", json=request)).status_code == 200
    await until(lambda: len(callback.items("statuses")) == 4)
    last = next(item for item in callback.items("statuses") if item["id"] == "wamid.elsewhere")
    assert last["errors"][0]["code"] == 131026
    assert last["biz_opaque_callback_data"] == "row-9"


async def test_any_other_field_can_be_delivered(simulator: Driver, callback: CallbackServer) -> None:
    """`/_sim/field` delivers any other field with an unchanged value. The entry contains the time."""
    await simulator.subscribe(callback.url, fields="messages,account_update")
    value = {"event": "ACCOUNT_RESTRICTION", "phone_number": "39025550123"}
    request = {"field": "account_update", "number": NUMBER, "value": value}
    assert (await simulator.http.post("/_sim/field", json=request)).status_code == 200
    await until(lambda: len(callback.bodies) == 1)
    assert b'"field":"account_update"' in callback.bodies[0]
    assert b'"time":' in callback.bodies[0]
