"""Statuses of what was sent."""

from typing import Any

import pytest

from .meta import NUMBER, USER, CallbackServer, Driver, until

pytestmark = pytest.mark.anyio


async def accepted(simulator: Driver, **changes: Any) -> str:
    answer = await simulator.send(**changes)
    assert answer.status_code == 200, answer.text
    wamid: str = answer.json()["messages"][0]["id"]
    return wamid


async def test_an_accepted_message_is_sent_then_delivered_then_read(
    simulator: Driver, callback: CallbackServer
) -> None:
    """Three statuses with our callback data; pricing on the first two; the ledger shows the last."""
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
    """The first 1,000 are free."""
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    simulator.simulation.free_service[NUMBER] = 1000
    await accepted(simulator)
    await until(lambda: len(callback.items("statuses")) == 3)
    priced = [item["pricing"] for item in callback.items("statuses") if "pricing" in item]
    assert {(price["billable"], price["type"]) for price in priced} == {(True, "regular")}


async def test_a_message_to_a_bsuid_has_statuses_with_the_bsuid(simulator: Driver, callback: CallbackServer) -> None:
    """`recipient_user_id` is there, `recipient_id` is not."""
    await simulator.subscribe(callback.url)
    await simulator.inbound(**{"from": "IT.42"})
    body = {"messaging_product": "whatsapp", "recipient": "IT.42", "text": {"body": "x"}}
    assert (await simulator.send(body)).status_code == 200
    await until(lambda: len(callback.items("statuses")) == 3)
    assert {item["recipient_user_id"] for item in callback.items("statuses")} == {"IT.42"}
    assert not any("recipient_id" in item for item in callback.items("statuses"))


async def test_many_statuses_share_few_bodies(simulator: Driver, callback: CallbackServer) -> None:
    """What falls due in one tick travels together."""
    await simulator.http.put(
        "/_sim/behaviour", json={"sent_after_s": 0.05, "delivered_after_s": 0.05, "read_after_s": None}
    )
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    for _ in range(40):
        await accepted(simulator)
    await until(lambda: len(callback.items("statuses")) == 80)
    assert len(callback.bodies) < 40


async def test_a_refusal_outside_the_window_may_come_as_a_failed_status(
    simulator: Driver, callback: CallbackServer
) -> None:
    """Meta does both; `window_refusal` chooses. A failed status has errors and no contacts."""
    await simulator.http.put("/_sim/behaviour", json={"window_refusal": "status"})
    await simulator.subscribe(callback.url)
    await accepted(simulator)
    await until(lambda: len(callback.items("statuses")) == 1)
    [item] = callback.items("statuses")
    assert item["status"] == "failed"
    assert item["errors"][0]["code"] == 131047
    assert b'"contacts"' not in callback.bodies[0]


async def test_a_chosen_status_can_be_emitted_for_any_message(simulator: Driver, callback: CallbackServer) -> None:
    """Out of order, failed with a code, or for a message that was never accepted here."""
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
    order = unseen | {"number": NUMBER, "to": USER, "callback_data": "row-9"}
    assert (await simulator.http.post("/_sim/status", json=order)).status_code == 200
    await until(lambda: len(callback.items("statuses")) == 4)
    last = next(item for item in callback.items("statuses") if item["id"] == "wamid.elsewhere")
    assert last["errors"][0]["code"] == 131026
    assert last["biz_opaque_callback_data"] == "row-9"


async def test_any_other_field_can_be_delivered(simulator: Driver, callback: CallbackServer) -> None:
    """Its value is passed on as given, with the time on the entry."""
    await simulator.subscribe(callback.url, fields="messages,account_update")
    value = {"event": "ACCOUNT_RESTRICTION", "phone_number": "39025550123"}
    order = {"field": "account_update", "number": NUMBER, "value": value}
    assert (await simulator.http.post("/_sim/field", json=order)).status_code == 200
    await until(lambda: len(callback.bodies) == 1)
    assert b'"field":"account_update"' in callback.bodies[0]
    assert b'"time":' in callback.bodies[0]
