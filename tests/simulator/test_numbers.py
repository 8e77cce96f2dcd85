"""Tests numbers and accounts: fields, health, registration, profile, and the limit of management calls."""

from typing import Any

import pytest

from .meta import NUMBER, TOKEN, WABA, Driver, code

pytestmark = pytest.mark.anyio


async def set_number(simulator: Driver, **changes: Any) -> None:
    """Changes fields of the number."""
    number = {"phone_number_id": NUMBER} | changes
    answer = await simulator.http.put("/_sim/world", json={"accounts": [{"waba_id": WABA, "numbers": [number]}]})
    assert answer.status_code == 200, answer.text


async def register(simulator: Driver, pin: object = "123456") -> int:
    """Registers the number and returns Meta's error code, or 0."""
    body = {"messaging_product": "whatsapp", "pin": pin}
    return code(await simulator.graph("POST", f"{NUMBER}/register", json=body))


async def test_a_number_shows_the_requested_fields(simulator: Driver) -> None:
    """A number shows the requested fields and always its id. A field that does not exist is refused with code 100."""
    fields = "status,quality_rating,throughput,name_status,health_status{can_send_message}"
    answer = await simulator.graph("GET", NUMBER, params={"fields": fields})
    shown = answer.json()
    assert shown.pop("health_status")["can_send_message"] == "AVAILABLE"
    assert shown == {
        "id": NUMBER,
        "status": "CONNECTED",
        "quality_rating": "GREEN",
        "throughput": {"level": "STANDARD"},
        "name_status": "APPROVED",
    }
    assert code(await simulator.graph("GET", NUMBER, params={"fields": "colour"})) == 100


@pytest.mark.parametrize(
    ("number_changes", "account_changes", "expected"),
    [
        ({}, {}, "AVAILABLE"),
        ({"status": "PENDING"}, {}, "BLOCKED"),
        ({"can_send_message": "LIMITED"}, {}, "LIMITED"),
        ({}, {"has_payment_method": False}, "LIMITED"),
        ({}, {"locked": True}, "BLOCKED"),
    ],
)
async def test_health_is_the_worst_of_number_and_account(
    simulator: Driver, number_changes: dict[str, Any], account_changes: dict[str, Any], expected: str
) -> None:
    """The health of a number says whether the number can send at all.

    If the number and its account differ in health, the worse health is shown.
    """
    number = {"phone_number_id": NUMBER} | number_changes
    await simulator.http.put(
        "/_sim/world", json={"accounts": [{"waba_id": WABA, "numbers": [number]} | account_changes]}
    )
    answer = await simulator.graph("GET", NUMBER, params={"fields": "health_status"})
    assert answer.json()["health_status"]["can_send_message"] == expected


async def test_registration_connects_a_number_and_keeps_its_pin(simulator: Driver) -> None:
    """The first registration connects the number and stores its PIN. Later PINs must match.

    After five wrong PINs even the right one is refused.
    """
    await set_number(simulator, status="DISCONNECTED")
    assert await register(simulator) == 0
    answer = await simulator.graph("GET", NUMBER, params={"fields": "status,is_pin_enabled"})
    assert answer.json() == {"id": NUMBER, "status": "CONNECTED", "is_pin_enabled": True}
    assert [await register(simulator, "000000") for _ in range(5)] == [133005] * 5
    assert await register(simulator) == 133008


async def test_the_eleventh_registration_in_72_hours_is_refused(simulator: Driver) -> None:
    """The eleventh registration in 72 hours is refused. Failed registrations and deregistrations count too.

    After three days a registration works again.
    """
    assert code(await simulator.graph("POST", f"{NUMBER}/deregister")) == 0
    assert [await register(simulator) for _ in range(10)] == [0] * 9 + [133016]
    await simulator.http.post("/_sim/clock", json={"advance_s": 72 * 3600 + 1})
    assert await register(simulator) == 0


@pytest.mark.parametrize("pin", ["12345", "1234567", "12345a", "١٢٣٤٥٦", None, ["1"]])
async def test_a_pin_has_six_digits(simulator: Driver, pin: Any) -> None:
    """A PIN has six digits. Any other PIN gets code 100 and does not count as a registration."""
    assert await register(simulator, pin) == 100
    assert simulator.simulation.world.numbers[NUMBER].registrations == []


async def test_an_unverified_number_is_verified_by_code_before_it_registers(simulator: Driver) -> None:
    """The registration of an unverified number is refused with code 133006.

    `request_code` and `verify_code` verify the number.
    """
    await set_number(simulator, code_verification_status="NOT_VERIFIED", status="UNVERIFIED")
    assert await register(simulator) == 133006
    ask = {"code_method": "SMS", "language": "en"}
    assert code(await simulator.graph("POST", f"{NUMBER}/request_code", json=ask)) == 0
    assert code(await simulator.graph("POST", f"{NUMBER}/verify_code", json={"code": "999999"})) == 136025
    assert code(await simulator.graph("POST", f"{NUMBER}/verify_code", json={"code": "123456"})) == 0
    assert code(await simulator.graph("POST", f"{NUMBER}/request_code", json=ask)) == 136024
    assert await register(simulator) == 0


async def test_a_display_name_waits_for_review(simulator: Driver) -> None:
    """A new display name waits for review. The parameter may be in the query, as Meta documents it."""
    await simulator.graph("POST", NUMBER, params={"new_display_name": "Corner bakery"})
    answer = await simulator.graph("GET", NUMBER, params={"fields": "new_display_name,new_name_status"})
    assert answer.json()["new_name_status"] == "PENDING_REVIEW"
    assert code(await simulator.graph("POST", NUMBER, json={"colour": "red"})) == 100
    assert code(await simulator.graph("POST", NUMBER, json={})) == 100


async def test_numbers_of_an_account_are_paged(simulator: Driver) -> None:
    """The numbers of an account are paged. Following `paging.next` returns all of them."""
    numbers = [{"phone_number_id": f"40{i}", "display_phone_number": f"+39 02 555100{i}"} for i in range(4)]
    await simulator.http.put("/_sim/world", json={"accounts": [{"waba_id": WABA, "numbers": numbers}]})
    answer = (await simulator.graph("GET", f"{WABA}/phone_numbers", params={"limit": 2, "fields": "status"})).json()
    seen = answer["data"]
    while "next" in answer["paging"]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = (await simulator.http.get(answer["paging"]["next"], headers=headers)).json()
        seen += answer["data"]
    assert [one["id"] for one in seen] == [NUMBER, "400", "401", "402", "403"]
    assert all(set(one) == {"id", "status"} for one in seen)
    assert code(await simulator.graph("GET", f"{WABA}/phone_numbers", params={"after": "x"})) == 100


async def test_an_account_shows_its_fields(simulator: Driver) -> None:
    """An account shows its requested fields, such as its review status and its verification status."""
    answer = await simulator.graph("GET", WABA, params={"fields": "account_review_status,business_verification_status"})
    assert answer.json() == {
        "id": WABA,
        "account_review_status": "APPROVED",
        "business_verification_status": "verified",
    }


async def test_too_many_management_calls_get_80007_for_an_hour(simulator: Driver) -> None:
    """Management calls above the hourly limit get 80007. Calls count per app and account, and sends do not count.

    A header contains the usage and the minutes to wait.
    """
    await simulator.http.put("/_sim/behaviour", json={"management_calls_per_hour": 3})
    await simulator.inbound()
    assert code(await simulator.send()) == 0
    answers = [await simulator.graph("GET", WABA) for _ in range(4)]
    assert [code(answer) for answer in answers] == [0, 0, 0, 80007]
    assert '"call_count":33' in answers[0].headers["x-business-use-case-usage"]
    assert '"estimated_time_to_regain_access":60' in answers[3].headers["x-business-use-case-usage"]
    await simulator.http.post("/_sim/clock", json={"advance_s": 3601})
    assert code(await simulator.graph("GET", WABA)) == 0


@pytest.mark.parametrize("path", [NUMBER, WABA, f"{WABA}/phone_numbers", f"{WABA}/subscribed_apps"])
async def test_management_needs_its_scope_and_access_to_the_account(simulator: Driver, path: str) -> None:
    """A token without the management scope gets code 10.

    A call for the account of another business gets code 200.
    """
    scopes = ["whatsapp_business_messaging"]
    await simulator.http.put("/_sim/world", json={"tokens": [{"token": TOKEN, "app_id": "1001", "scopes": scopes}]})
    assert code(await simulator.graph("GET", path)) == 10
    both = {"scopes": ["whatsapp_business_management"], "wabas": []}
    await simulator.http.put("/_sim/world", json={"tokens": [{"token": TOKEN, "app_id": "1001"} | both]})
    assert code(await simulator.graph("GET", path)) == 200


async def test_a_profile_is_changed_and_read_back(simulator: Driver) -> None:
    """A changed profile can be read back. GET returns the profile in a list.

    POST needs `messaging_product` and refuses unknown keys.
    """
    path = f"{NUMBER}/whatsapp_business_profile"
    body = {"messaging_product": "whatsapp", "about": "Bread", "vertical": "RETAIL", "websites": ["https://a.example"]}
    assert code(await simulator.graph("POST", path, json=body)) == 0
    [profile] = (await simulator.graph("GET", path, params={"fields": "about,vertical"})).json()["data"]
    assert profile == {"about": "Bread", "vertical": "RETAIL", "messaging_product": "whatsapp"}
    assert code(await simulator.graph("POST", path, json={"about": "Bread"})) == 100
    assert code(await simulator.graph("POST", path, json=body | {"about": "x" * 140})) == 131009
    assert code(await simulator.graph("POST", path, json=body | {"colour": "red"})) == 100


@pytest.mark.parametrize(
    "seed",
    [
        {"app": []},
        {"apps": [{"app_id": "1", "secret": "x"}]},
        {"accounts": [{"waba_id": "2", "numbers": [{"phone_number_id": "3"}]}]},
        {"tokens": [{"token": "x"}]},
    ],
)
async def test_an_invalid_world_is_refused_as_a_whole(simulator: Driver, seed: dict[str, Any]) -> None:
    """An invalid world is refused, and no part of it is applied."""
    before = (await simulator.http.get("/_sim/world")).text
    answer = await simulator.http.put("/_sim/world", json=seed)
    assert answer.status_code == 422
    assert (await simulator.http.get("/_sim/world")).text == before


async def test_putting_the_same_world_twice_changes_nothing(simulator: Driver) -> None:
    """A PUT of the same world changes nothing. Changes at run time, such as a PIN or a subscription, stay."""
    await register(simulator)
    await simulator.graph("POST", f"{WABA}/subscribed_apps")
    await set_number(simulator, display_phone_number="+39 02 5550123")
    assert simulator.simulation.world.numbers[NUMBER].pin == "123456"
    assert list(simulator.simulation.world.accounts[WABA].subscribers) == ["1001"]
