"""Verifies callbacks: Meta stores a callback only after its endpoint has echoed a challenge."""

import asyncio
import secrets
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

import httpx

from waypost.simulator.simulation import Simulation
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.world import Account, Callback

ANSWER_MAX = 4096
CALLBACK_MAX = 200
NOT_SUBSCRIBED = (
    "(#100) Before override the current callback uri, your app must be subscribed to receive messages for WhatsApp "
    "Business Account"
)
PREFIX = "(#2200) Callback verification failed with the following errors: "


async def verify(sim: Simulation, url: str, verify_token: str) -> None:
    """Sends one GET request with `hub.*` to the callback.

    The callback must answer in time, with status 200, and its answer must contain only the challenge. Raises
    `Refusal` 100 for an invalid URL, and `Refusal` 2200 with Meta's text for any other failure.
    """
    check_url(sim, url)
    challenge = str(secrets.randbelow(2_000_000_000))
    query = urlencode({"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token})
    target = f"{url}{'&' if urlsplit(url).query else '?'}{query}"
    timeout_s = sim.config.verification_timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _get(sim.delivery_sender.client, target, timeout_s)
    except (TimeoutError, httpx.TimeoutException):
        milliseconds = int(timeout_s * 1000)
        raise _failed(
            _curl(28, f"Operation timed out after {milliseconds} milliseconds with 0 bytes received")
        ) from None
    except httpx.ConnectError as error:
        raise _failed(_connect_error(error)) from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise _failed(_curl(52, "Empty reply from server")) from None
    if status != 200:
        raise _failed(f"HTTP Status Code = {status}; HTTP Message = {_phrase(status)}")
    if body != challenge.encode():
        raise _failed("HTTP Status Code = 200; HTTP Message = OK; Response does not match challenge")


async def verified_override(
    sim: Simulation, account: Account, app_id: str, url: str, verify_token: str | None
) -> Callback:
    """Verifies the callback of an override and returns the override. Raises `Refusal` 100 or 2200."""
    if app_id not in account.subscribers:
        raise Refusal(100, message=NOT_SUBSCRIBED)
    if len(url) > CALLBACK_MAX:
        raise Refusal(
            100, message=f"(#100) Param override_callback_uri must be at most {CALLBACK_MAX} characters long."
        )
    if verify_token is None:
        raise Refusal(100, message="(#100) The parameter verify_token is required.")
    await verify(sim, url, verify_token)
    return Callback(url=url, verify_token=verify_token)


def check_url(sim: Simulation, url: str) -> None:
    """Raises `Refusal` 100 unless the text is an absolute URL that Meta would call."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment and " " not in url
    except ValueError:
        valid = False
    if not valid:
        raise Refusal(100, message="(#100) Param callback_url must be a valid URI.")
    if sim.config.require_https and parts.scheme != "https":
        raise Refusal(100, message="(#100) Callback URLs must be secure (https).")


async def _get(client: httpx.AsyncClient, target: str, timeout_s: float) -> tuple[int, bytes]:
    async with client.stream("GET", target, timeout=timeout_s) as response:
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > ANSWER_MAX:
                break
        return response.status_code, body


def _failed(reason: str) -> Refusal:
    return Refusal(2200, message=PREFIX + reason)


def _curl(number: int, text: str) -> str:
    return f"curl_errno = {number}; curl_error = {text}; HTTP Status Code = 0; HTTP Message = "


def _connect_error(error: httpx.ConnectError) -> str:
    text = str(error).lower()
    if "certificate" in text or "ssl" in text:
        return _curl(60, "SSL certificate problem")
    if "name" in text and ("resolution" in text or "known" in text):
        return _curl(6, "Could not resolve host")
    return _curl(7, "Failed to connect")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
