"""Tests faults that are injected on demand."""

from typing import Any

import httpx
import pytest

from waypost.simulator.main import CuttableProtocol

from .meta import (
    NEVER_S,
    NUMBER,
    TOKEN,
    WABA,
    WORLD,
    CallbackServer,
    Driver,
    LoopbackServer,
    build_simulator,
    code,
    until,
)

pytestmark = pytest.mark.anyio


async def arm(simulator: Driver, **fault: Any) -> None:
    """Arms a fault."""
    answer = await simulator.http.post("/_sim/faults", json=fault)
    assert answer.status_code == 200, answer.text


async def test_a_fault_hits_the_given_number_of_times(simulator: Driver) -> None:
    """A fault hits as many calls as `times` says. Its code determines the error and the HTTP status."""
    await simulator.inbound()
    await arm(simulator, match="messages", code=131016, times=2)
    answers = [await simulator.send() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].json()["error"]["is_transient"] is True
    assert len((await simulator.http.get("/_sim/sent")).json()) == 1


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        (None, True),
        ("messages", True),
        ("text", True),
        ("^POST /3001/messages$", True),
        ("image", False),
        ("subscribed_apps", False),
        ({"type": "text"}, True),
        ({"type": "template"}, False),
        ({"number": NUMBER, "method": "POST"}, True),
        ({"number": "3002"}, False),
        ({"to": "393331112223"}, True),
        ({"to": "393339999999"}, False),
        ({"app": "1001"}, True),
        ({"app": "1002"}, False),
        ({"path": "messages$", "type": "text"}, True),
        ({"path": "messages$", "type": "image"}, False),
    ],
)
async def test_a_fault_hits_matching_calls_only(simulator: Driver, match: Any, hit: bool) -> None:
    """A fault hits only the calls that match.

    A string is a pattern for method and path, or a message type. All facts in an object must hold.
    """
    await simulator.inbound()
    await arm(simulator, match=match, code=131000)
    assert code(await simulator.send()) == (131000 if hit else 0)


async def test_a_status_without_a_code_is_an_unspecific_error(simulator: Driver) -> None:
    """A fault with a status but no code is an unspecific error. It can also have headers, such as Retry-After."""
    await arm(simulator, match="messages", status=503, headers={"retry-after": "7"})
    answer = await simulator.send()
    assert (answer.status_code, answer.headers["retry-after"], code(answer)) == (503, "7", 2)


async def test_a_reply_can_be_garbage(simulator: Driver) -> None:
    """A fault can answer with a page instead of JSON and with any status, as a proxy may do."""
    await arm(simulator, match="messages", status=200, body="<html>busy</html>")
    answer = await simulator.send()
    assert (answer.status_code, answer.text) == (200, "<html>busy</html>")


async def test_a_message_can_be_accepted_and_then_fail(simulator: Driver, callback: CallbackServer) -> None:
    """With `fail_after_accept` the message is accepted and its status is `failed`."""
    await simulator.subscribe(callback.url)
    await simulator.inbound()
    await arm(simulator, match="messages", code=131026, fail_after_accept=True)
    assert code(await simulator.send()) == 0
    await until(lambda: len(callback.items("statuses")) == 1)
    [item] = callback.items("statuses")
    assert (item["status"], item["errors"][0]["code"]) == ("failed", 131026)


async def test_an_invalid_fault_is_refused(simulator: Driver) -> None:
    """An invalid fault is refused. Its pattern, keys, `times` and combination of fields are checked."""
    for fault in ({"match": "("}, {"matches": "x"}, {"times": 0}, {"reset": True, "reset_after_accept": True}):
        assert (await simulator.http.post("/_sim/faults", json=fault)).status_code == 422


async def test_armed_faults_can_be_listed_and_disarmed(simulator: Driver) -> None:
    """A fault with `times: null` stays armed until it is disarmed."""
    await arm(simulator, match="messages", code=131000, times=None)
    assert [code(await simulator.send()) for _ in range(2)] == [131000, 131000]
    [shown] = (await simulator.http.get("/_sim/faults")).json()
    assert shown["code"] == 131000
    await simulator.http.delete("/_sim/faults")
    assert (await simulator.http.get("/_sim/faults")).json() == []


async def test_a_lost_reply_leaves_the_message_sent(callback: CallbackServer) -> None:
    """With `reset_after_accept` over a real connection there is no reply, but the message and its statuses exist."""
    app = build_simulator()
    async with (
        LoopbackServer(app, http=CuttableProtocol) as server,
        httpx.AsyncClient(base_url=server.url, timeout=NEVER_S) as client,
    ):
        await client.put("/_sim/world", json=WORLD)
        driver = Driver(app, client)
        await driver.subscribe(callback.url)
        await driver.inbound()
        await arm(driver, match="messages", reset_after_accept=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await driver.send(biz_opaque_callback_data="row-1")
        [sent] = (await client.get("/_sim/sent")).json()
        assert sent["biz_opaque_callback_data"] == "row-1"
        await until(lambda: sorted(callback.statuses_of(sent["wamid"])) == ["delivered", "read", "sent"])
        await arm(driver, match="messages", reset=True)
        with pytest.raises(httpx.RemoteProtocolError):
            await driver.send()
        assert len((await client.get("/_sim/sent")).json()) == 1
        assert code(await driver.send()) == 0


async def test_in_process_a_lost_reply_raises_what_a_reset_would(simulator: Driver) -> None:
    """In process there is no connection to reset, but the client gets the error that a reset would cause."""
    await simulator.inbound()
    await arm(simulator, match="messages", reset_after_accept=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await simulator.send()
    assert len((await simulator.http.get("/_sim/sent")).json()) == 1


async def test_a_management_call_can_fail_too(simulator: Driver) -> None:
    """Faults apply to every Graph path, so a management call can fail too."""
    await arm(simulator, match="GET /2001", code=80007)
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert code(await simulator.http.get(f"/v26.0/{WABA}", headers=headers)) == 80007
