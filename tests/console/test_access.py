"""Tests that the console needs its password.

Without a password, the console answers only requests from this machine.
"""

import base64
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.responses import PlainTextResponse

from waypost.clients import Throttle, networks
from waypost.console.access import Guard, SecurityHeaders, is_local_host, is_loopback, is_same, password_of

PASSWORD = "correct horse battery staple"


def basic(password: str, user: str = "anyone") -> dict[str, str]:
    """Returns the Authorization header that a browser sends for this password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


Get = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def get() -> Get:
    """Returns `get(guard, headers=…, peer=…, host=…)`, which requests a guarded application."""

    async def get(
        guard: Guard, *, headers: dict[str, str] | None = None, peer: str = "10.0.0.9", host: str = "console:8081"
    ) -> httpx.Response:
        transport = httpx.ASGITransport(SecurityHeaders(guard), client=(peer, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.get("/", headers={"Host": host} | (headers or {}))

    return get


def guard(password: str | None, throttle: Throttle | None = None) -> Guard:
    """Returns a guard in front of an application that answers `inside`."""
    return Guard(PlainTextResponse("inside"), password=password, throttle=throttle)


@pytest.mark.anyio
async def test_the_right_password_is_accepted(get: Get) -> None:
    """The right password is accepted with any user name."""
    answer = await get(guard(PASSWORD), headers=basic(PASSWORD))
    assert (answer.status_code, answer.text) == (200, "inside")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("wrong"),
        basic(""),
        basic(PASSWORD + "x"),
        basic(PASSWORD[:-1]),
        {"Authorization": f"Bearer {PASSWORD}"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Basic /////w=="},
        {"Authorization": "Basic " + base64.b64encode(PASSWORD.encode()).decode()},
        {"Authorization": "Basic " + "A" * 8000},
    ],
)
async def test_a_request_without_the_right_password_is_refused(get: Get, headers: dict[str, str]) -> None:
    """A request without the right password is answered with 401 and a challenge.

    The answer shows nothing of the page.
    """
    answer = await get(guard(PASSWORD), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert "inside" not in answer.text


@pytest.mark.anyio
async def test_loopback_needs_the_password_too_if_there_is_one(get: Get) -> None:
    """If a password is set, requests from loopback need it too.

    A sidecar and a port-forward are on loopback as well.
    """
    assert (await get(guard(PASSWORD), peer="127.0.0.1", host="localhost")).status_code == 401


@pytest.mark.anyio
@pytest.mark.parametrize("password", [None, ""])
@pytest.mark.parametrize(
    ("peer", "host", "status"),
    [
        ("127.0.0.1", "localhost:8081", 200),
        ("127.0.0.1", "127.0.0.1:8081", 200),
        ("::1", "[::1]:8081", 200),
        ("::ffff:127.0.0.1", "localhost", 200),
        ("10.0.0.9", "localhost:8081", 403),
        ("192.168.1.2", "192.168.1.2", 403),
        ("", "localhost", 403),
        ("127.0.0.1", "rebound.example:8081", 403),
        ("127.0.0.1", "127.0.0.1.example", 403),
        ("127.0.0.1", "", 403),
    ],
)
async def test_without_a_password_it_answers_this_machine_only(
    get: Get, password: str | None, peer: str, host: str, status: int
) -> None:
    """Without a password, the console answers only this machine.

    It refuses other peers. It also refuses a web page whose name resolves to 127.0.0.1.
    """
    assert (await get(guard(password), peer=peer, host=host)).status_code == status


@pytest.mark.anyio
async def test_wrong_passwords_never_keep_the_right_one_out(get: Get) -> None:
    """After ten wrong passwords, a client gets 429 for a wrong one, and the right one is accepted as before.

    One who guesses may share the address of one who knows the password.
    """
    guarded = guard(PASSWORD, Throttle(limit=10, window_s=60, clock=lambda: 0.0))
    for _ in range(10):
        assert (await get(guarded, headers=basic("wrong"))).status_code == 401
    refused = await get(guarded, headers=basic("wrong"))
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    assert (await get(guarded, headers=basic(PASSWORD))).status_code == 200


@pytest.mark.anyio
async def test_a_short_password_waits_after_too_many_wrong_ones(get: Get) -> None:
    """After ten wrong passwords, a client must wait a minute for a right one that could be guessed.

    Other clients need not wait.
    """
    now = [0.0]
    short = PASSWORD[:15]
    guarded = guard(short, Throttle(limit=10, window_s=60, clock=lambda: now[0]))
    for _ in range(10):
        assert (await get(guarded, headers=basic("wrong"))).status_code == 401
    assert (await get(guarded, headers=basic(short))).status_code == 429
    assert (await get(guarded, headers=basic(short), peer="10.0.0.10")).status_code == 200
    now[0] = 61.0
    assert (await get(guarded, headers=basic(short))).status_code == 200


@pytest.mark.anyio
async def test_behind_trusted_proxies_each_client_counts_for_itself(get: Get) -> None:
    """Behind trusted proxies each client counts for itself. Other peers cannot choose the address that counts."""
    proxies = networks("10.0.0.0/24")
    guarded = Guard(
        PlainTextResponse("inside"),
        password=PASSWORD,
        throttle=Throttle(limit=1, clock=lambda: 0.0),
        trusted_proxies=proxies,
    )

    async def status(client: str, peer: str = "10.0.0.9") -> int:
        return (await get(guarded, headers={**basic("wrong"), "X-Forwarded-For": client}, peer=peer)).status_code

    assert [await status("192.0.2.1"), await status("192.0.2.1"), await status("192.0.2.2")] == [401, 429, 401]
    assert [await status("192.0.2.3", "10.1.0.1"), await status("192.0.2.4", "10.1.0.1")] == [401, 429]


@pytest.mark.anyio
async def test_a_request_without_a_password_is_not_a_failure(get: Get) -> None:
    """A request without a password does not count as a failure.

    Browsers send no password until they are asked for it.
    """
    guarded = guard(PASSWORD, Throttle(limit=2))
    for _ in range(5):
        assert (await get(guarded)).status_code == 401


@pytest.mark.parametrize(
    ("given", "same"), [(PASSWORD, True), ("", False), (PASSWORD + " ", False), ("Correct horse battery staple", False)]
)
def test_passwords_are_compared_whole(given: str, same: bool) -> None:
    """Passwords are compared by their digests, so that timing reveals neither content nor length."""
    assert is_same(given, PASSWORD) is same


def test_a_password_may_hold_colons_and_letters_of_any_script() -> None:
    """A password may contain colons and letters of any writing system.

    By RFC 7617, the first colon ends the user name, and the text is UTF-8.
    """
    assert password_of(basic("pässwörd: 密码")["Authorization"]) == "pässwörd: 密码"


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.8.0.1", True), ("::1", True), ("localhost", False), ("0.0.0.0", False), ("", False)]
)
def test_only_ip_addresses_count_as_loopback(address: str, loopback: bool) -> None:
    """Only IP addresses count as loopback, because a name can resolve to any address."""
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    ("host", "local"), [("LOCALHOST", True), ("localhost.example", False), ("[::1", True), ("[", False)]
)
def test_malformed_host_headers_do_not_count_as_local(host: str, local: bool) -> None:
    """Malformed Host headers do not count as local. Only the exact name or address of this machine counts."""
    assert is_local_host(host) is local


@pytest.mark.anyio
async def test_refusals_have_the_security_headers_too(get: Get) -> None:
    """Refusals have the security headers too, because anyone can request them."""
    answer = await get(guard(PASSWORD))
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Cache-Control"] == "no-store"
