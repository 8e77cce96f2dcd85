"""Tests `POST /{phone-number-id}/messages` against the state of the simulated Meta."""

import hashlib
import hmac
from typing import Any

import pytest

from waypost.simulator.graph.sends import normalize_phone

from .meta import APP, NUMBER, TOKEN, USER, WABA, Driver, code

pytestmark = pytest.mark.anyio


async def test_an_accepted_message_is_answered_as_meta_does_and_listed(simulator: Driver) -> None:
    """The reply to an accepted message has contacts and a wamid, as at Meta.

    `/_sim/sent` lists the accepted messages in order.
    """
    await simulator.inbound()
    first = await simulator.send(biz_opaque_callback_data="row-1")
    second = await simulator.send(text={"body": "again"})
    assert first.json()["contacts"] == [{"input": USER, "wa_id": "393331112223"}]
    assert first.json()["messages"][0]["message_status"] == "accepted"
    sent = (await simulator.http.get("/_sim/sent", params={"to": USER, "number": NUMBER})).json()
    assert [entry["wamid"] for entry in sent] == [a.json()["messages"][0]["id"] for a in (first, second)]
    assert (sent[0]["text"], sent[0]["biz_opaque_callback_data"]) == ("hello", "row-1")


async def test_an_error_has_the_form_of_metas(simulator: Driver) -> None:
    """An error has the form of Meta's: message, type, code, trace id, and details under `error_data`."""
    answer = await simulator.send()
    error = answer.json()["error"]
    assert error["code"] == 131047
    assert error["message"] == "(#131047) Re-engagement message"
    assert error["type"] == "OAuthException"
    assert error["error_data"]["messaging_product"] == "whatsapp"
    assert error["fbtrace_id"]


@pytest.mark.parametrize(
    ("token", "changes", "expected"),
    [
        (None, {}, 200),
        ("nonsense", {}, 190),
        (TOKEN, {"revoked": True}, 190),
        (TOKEN, {"expires_at": 1.0}, 190),
        (TOKEN, {"scopes": ["whatsapp_business_management"]}, 10),
        (TOKEN, {"wabas": ["9999"]}, 200),
        (f"{APP}|s3cret", {}, 10),
        (f"{APP}|wrong", {}, 190),
    ],
)
async def test_a_token_that_may_not_send_is_refused(
    simulator: Driver, token: str | None, changes: dict[str, Any], expected: int
) -> None:
    """A token that may not send is refused.

    An invalid token gets code 190. A token without the scope gets code 10. A request without a token, or
    for somebody else's account, gets code 200.
    """
    await simulator.inbound()
    await simulator.http.put("/_sim/world", json={"tokens": [{"token": TOKEN, "app_id": APP} | changes]})
    answer = await simulator.graph(
        "POST",
        f"{NUMBER}/messages",
        token=token,
        json={"messaging_product": "whatsapp", "to": USER, "text": {"body": "x"}},
    )
    assert code(answer) == expected


async def test_an_appsecret_proof_must_be_right_and_present_if_required(simulator: Driver) -> None:
    """A proof is the HMAC of the token with the app secret. A wrong proof gets code 100.

    A missing proof gets code 100 too if the app requires proofs.
    """
    await simulator.inbound()
    await simulator.http.put("/_sim/world", json={"apps": [{"app_id": APP, "require_proof": True}]})
    assert code(await simulator.send()) == 100
    assert code(await simulator.send(appsecret_proof="0" * 64)) == 100
    proof = hmac.new(b"s3cret", TOKEN.encode(), hashlib.sha256).hexdigest()
    assert code(await simulator.send(appsecret_proof=proof)) == 0


async def test_free_text_is_refused_once_the_users_last_message_is_a_day_old(simulator: Driver) -> None:
    """Free text gets code 131047 if the user's last message is more than 24 hours old. Templates are still accepted."""
    await simulator.inbound()
    assert code(await simulator.send()) == 0
    await simulator.http.post("/_sim/clock", json={"advance_s": 86_401})
    assert code(await simulator.send()) == 131047
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    body = {"messaging_product": "whatsapp", "to": USER, "type": "template", "template": template}
    assert code(await simulator.send(body)) == 0


async def test_each_number_has_its_own_window(simulator: Driver) -> None:
    """Each pair of number and user has its own window."""
    other = {"phone_number_id": "3002", "display_phone_number": "+39 02 5550999"}
    await simulator.http.put("/_sim/world", json={"accounts": [{"waba_id": WABA, "numbers": [other]}]})
    await simulator.inbound()
    body = {"messaging_product": "whatsapp", "to": USER, "text": {"body": "x"}}
    assert code(await simulator.graph("POST", "3002/messages", json=body)) == 131047


async def test_the_46th_message_to_one_user_at_once_exceeds_the_pair_limit(simulator: Driver) -> None:
    """The pair limit allows a burst of 45 messages and then one message in six seconds.

    A message above this limit gets code 131056.
    """
    await simulator.inbound()
    answers = [code(await simulator.send()) for _ in range(46)]
    assert answers == [0] * 45 + [131056]
    await simulator.http.post("/_sim/clock", json={"advance_s": 6.1})
    assert [code(await simulator.send()) for _ in range(2)] == [0, 131056]


async def test_a_number_that_sends_too_fast_is_refused(simulator: Driver) -> None:
    """A number that exceeds its messages per second gets code 130429. Inbound messages count too."""
    number = {"phone_number_id": NUMBER, "messages_per_second": 2}
    await simulator.http.put("/_sim/world", json={"accounts": [{"waba_id": WABA, "numbers": [number]}]})
    await simulator.inbound()
    answers = [code(await simulator.send()) for _ in range(3)]
    assert answers[-1] == 130429


@pytest.mark.parametrize(
    ("number_changes", "account_changes", "expected"),
    [
        ({"status": "DISCONNECTED"}, {}, 133010),
        ({"status": "BANNED"}, {}, 131031),
        ({"name_status": "DECLINED"}, {}, 131037),
        ({"allowed_recipients": ["+39 333 999 9999"]}, {}, 131030),
        ({"display_phone_number": USER}, {}, 131021),
        ({}, {"locked": True}, 131031),
        ({}, {"has_payment_method": False}, 131042),
    ],
)
async def test_a_number_or_account_with_a_problem_may_not_send(
    simulator: Driver, number_changes: dict[str, Any], account_changes: dict[str, Any], expected: int
) -> None:
    """A number or account with a problem may not send. Each problem has its own code."""
    await simulator.inbound()
    number = {"phone_number_id": NUMBER} | number_changes
    await simulator.http.put(
        "/_sim/world", json={"accounts": [{"waba_id": WABA, "numbers": [number]} | account_changes]}
    )
    assert code(await simulator.send()) == expected


@pytest.mark.parametrize(
    ("to", "calling_code", "expected"),
    [
        ("+39 333 111-2223", "39", "393331112223"),
        ("393331112223", "39", "393331112223"),
        ("3331112223", "39", "393331112223"),
        ("16505551234", "91", "9116505551234"),
        ("6505551234", "91", "916505551234"),
        ("+1234", "39", None),
        ("not a number", "39", None),
        ("+39333111222٣", "39", None),
    ],
)
def test_a_recipient_without_a_plus_gets_the_business_numbers_country(
    to: str, calling_code: str, expected: str | None
) -> None:
    """If a recipient's number has no plus, the calling code of the business number is put in front of it.

    Thus numbers of other countries become wrong, as at Meta.
    """
    assert normalize_phone(to, calling_code) == expected


async def test_a_user_without_a_phone_is_written_to_by_bsuid(simulator: Driver) -> None:
    """A message to a user without a phone is addressed by BSUID. The reply contains the BSUID and no `wa_id`."""
    user = "IT.13491208655302741918"
    await simulator.inbound(**{"from": user})
    body = {"messaging_product": "whatsapp", "recipient": user, "text": {"body": "x"}}
    answer = await simulator.send(body)
    assert answer.json()["contacts"] == [{"input": user, "user_id": user}]


async def test_an_unknown_bsuid_is_undeliverable(simulator: Driver) -> None:
    """An unknown BSUID gets code 131026, and an invalid BSUID gets code 131009."""
    body = {"messaging_product": "whatsapp", "text": {"body": "x"}}
    assert code(await simulator.send(body | {"recipient": "IT.1"})) == 131026
    assert code(await simulator.send(body | {"recipient": "someone"})) == 131009


TEMPLATES = [
    {
        "name": "order",
        "language": "en",
        "components": [
            {"type": "HEADER", "format": "IMAGE"},
            {"type": "BODY", "text": "Hi {{1}}, {{2}} is ready."},
            {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "See", "url": "https://a.example/{{1}}"}]},
        ],
    },
    {
        "name": "named",
        "language": "en",
        "parameter_format": "NAMED",
        "components": [{"type": "BODY", "text": "Hi {{who}}!"}],
    },
    {
        "name": "paused",
        "language": "en",
        "status": "PAUSED",
        "components": [{"type": "BODY", "text": "Hi"}],
    },
    {"name": "disabled", "language": "en", "status": "DISABLED", "components": [{"type": "BODY", "text": "Hi"}]},
    {"name": "pending", "language": "en", "status": "PENDING", "components": [{"type": "BODY", "text": "Hi"}]},
]
IMAGE = {"type": "header", "parameters": [{"type": "image", "image": {"link": "https://a.example/i.png"}}]}
URL = {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "7"}]}


def body_of(*words: str, **more: str) -> dict[str, Any]:
    """Returns the parameters of a template's body."""
    return {"type": "body", "parameters": [{"type": "text", "text": word} | more for word in words]}


@pytest.mark.parametrize(
    ("name", "language", "components", "expected"),
    [
        ("order", "en", [IMAGE, body_of("Ada", "bread"), URL], 0),
        ("order", "it", [IMAGE, body_of("Ada", "bread"), URL], 132001),
        ("orders", "en", [], 132001),
        ("order", "en", [IMAGE, body_of("Ada"), URL], 132000),
        ("order", "en", [IMAGE, body_of("Ada", "bread", "x"), URL], 132000),
        ("order", "en", [body_of("Ada", "bread"), URL], 132012),
        ("order", "en", [IMAGE, body_of("Ada", "two\nlines"), URL], 132012),
        ("order", "en", [IMAGE, body_of("Ada", "x" * 32_760), URL], 132005),
        ("order", "en", [IMAGE, body_of("Ada", "bread")], 131008),
        ("named", "en", [body_of("Ada", parameter_name="who")], 0),
        ("named", "en", [body_of("Ada")], 132000),
        ("paused", "en", [], 132015),
        ("disabled", "en", [], 132016),
        ("pending", "en", [], 132001),
        ("hello_world", "en_US", [body_of("too much")], 132000),
    ],
)
async def test_a_template_must_exist_and_be_filled_exactly(
    simulator: Driver, name: str, language: str, components: list[Any], expected: int
) -> None:
    """A template must exist, be approved, and get exactly its parameters. Each mistake has its own code."""
    await simulator.http.put("/_sim/world", json={"accounts": [{"waba_id": WABA, "templates": TEMPLATES}]})
    template = {"name": name, "language": {"code": language}, "components": components}
    body = {"messaging_product": "whatsapp", "to": USER, "type": "template", "template": template}
    assert code(await simulator.send(body)) == expected


async def test_a_media_id_of_another_number_is_refused(simulator: Driver) -> None:
    """A message with a media id of another number is refused, because an upload belongs to one number."""
    await simulator.inbound()
    assert code(await simulator.send(type="image", image={"id": "12345"}, text=None)) == 131009


async def test_marking_a_message_as_read_marks_the_earlier_ones_too(simulator: Driver) -> None:
    """A mark as read also marks the user's earlier messages as read. An unknown message id is refused."""
    first = await simulator.inbound()
    second = await simulator.inbound(text="more")
    body = {"messaging_product": "whatsapp", "status": "read", "message_id": second["wamid"]}
    answer = await simulator.send(body, typing_indicator={"type": "text"})
    assert answer.json() == {"success": True}
    received = simulator.simulation.history.received
    assert received[first["wamid"]].read
    assert received[second["wamid"]].read
    assert code(await simulator.send(body | {"message_id": "wamid.unknown"})) == 131009


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v19.0/3001/messages", 2635),
        ("/v99.0/3001/messages", 2500),
        ("/v26.0/4711/messages", 100),
        ("/v26.0/3001/letters", 2500),
        ("/v26.0/3001/messages/more", 2500),
        ("/3001/messages", 131047),
    ],
)
async def test_unknown_paths_are_refused(simulator: Driver, path: str, expected: int) -> None:
    """Unknown paths are refused with a code: old and future versions, unknown objects and unknown edges.

    A path without a version is handled as one of the newest version.
    """
    headers = {"authorization": f"Bearer {TOKEN}"}
    body = {"messaging_product": "whatsapp", "to": USER, "text": {"body": "x"}}
    answer = await simulator.http.post(path, headers=headers, json=body)
    assert code(answer) == expected


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b"[" * 100_000, b"\xff"])
async def test_a_body_that_is_not_a_json_object_is_code_100(simulator: Driver, raw: bytes) -> None:
    """A body that is not a JSON object gets code 100. The status is never 500."""
    answer = await simulator.graph("POST", f"{NUMBER}/messages", content=raw)
    assert code(answer) == 100


async def test_only_the_last_messages_are_listed(simulator: Driver) -> None:
    """Only the last messages are kept and listed, so that memory stays bounded."""
    simulator.simulation.history._capacity = 3
    await simulator.inbound()
    for index in range(5):
        await simulator.send(biz_opaque_callback_data=str(index))
    sent = (await simulator.http.get("/_sim/sent")).json()
    assert [entry["biz_opaque_callback_data"] for entry in sent] == ["2", "3", "4"]
