"""Restricts access to the console.

Only people who know the password may use the console. If no password is set, only this machine may use it.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

LONGEST_HEADER = 1024
"""Most characters of an Authorization header that are read."""


class Throttle:
    """Counts failures per client address. After too many failures within `window_s`, the client has to wait."""

    def __init__(
        self,
        *,
        failures: int = 10,
        window_s: float = 60.0,
        clients: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._window_s = window_s
        self._clients = clients
        self._clock = clock
        self._failed_at: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Returns the seconds until this client may try again. 0 means that it may try now."""
        recent = self._recent(client)
        return 0.0 if len(recent) < self._failures else max(0.0, recent[0] + self._window_s - self._clock())

    def add_failure(self, client: str) -> None:
        """Counts one failed login of this client."""
        recent = self._recent(client)
        recent.append(self._clock())
        self._failed_at[client] = recent[-self._failures :]
        self._failed_at.move_to_end(client)
        while len(self._failed_at) > self._clients:
            self._failed_at.popitem(last=False)

    def _recent(self, client: str) -> list[float]:
        since = self._clock() - self._window_s
        return [at for at in self._failed_at.get(client, ()) if at > since]


def password_of(header: str) -> str | None:
    """Returns the password in `Authorization: Basic …` (RFC 7617).

    Returns None if the header has another scheme or cannot be read.
    """
    scheme, _, encoded = header[:LONGEST_HEADER].partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return password if colon else None


def is_same(given: str, expected: str) -> bool:
    """Returns whether two texts are equal.

    The duration of the comparison depends on neither the texts nor their lengths.
    """
    digests = (hashlib.sha256(each.encode("utf-8", "surrogatepass")).digest() for each in (given, expected))
    return hmac.compare_digest(*digests)


def is_loopback(address: str) -> bool:
    """Returns whether `address` is an IP address of the loopback interface."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def is_local_host(header: str) -> bool:
    """Returns whether a `Host` header names this machine.

    Without this check, any web page could use a host name that resolves to 127.0.0.1 to read a console on
    loopback.
    """
    host = header.strip().lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host == "localhost" or is_loopback(host)


class Guard:
    """ASGI middleware that checks every request to the console."""

    def __init__(self, app: ASGIApp, *, password: str | None, throttle: Throttle | None = None) -> None:
        self._app = app
        self._password = password
        self._throttle = throttle or Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 401, 403 or 429."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        client = (scope.get("client") or ("",))[0]
        headers = Headers(scope=scope)
        if not self._password:
            if is_loopback(client) and is_local_host(headers.get("host", "")):
                return None
            return PlainTextResponse(
                "This console has no password, so it answers its own machine only. Set WAYPOST_CONSOLE_PASSWORD.\n",
                403,
            )
        wait_s = self._throttle.wait_s(client)
        if wait_s > 0:
            # This comes before any comparison: otherwise a client could still find out the right password.
            return PlainTextResponse(
                "Too many wrong passwords. Try again later.\n", 429, {"Retry-After": str(int(wait_s) + 1)}
            )
        header = headers.get("authorization")
        if header is not None:
            if is_same(password_of(header) or "", self._password):
                return None
            self._throttle.add_failure(client)
            structlog.get_logger(__name__).warning("a console request had a wrong password")
        return PlainTextResponse(
            "The console needs its password (any user name).\n",
            401,
            {"WWW-Authenticate": 'Basic realm="Waypost console", charset="UTF-8"'},
        )


_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        b" frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
]


class SecurityHeaders:
    """ASGI middleware that adds security headers to every answer.

    The headers keep a browser from running code and from leaking data.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and adds the headers to the answer. They replace headers of the same name."""

        async def send_with_headers(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in _HEADERS}
                headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))  # type: ignore[call-overload]
                message = {**message, "headers": [h for h in headers if h[0].lower() not in names] + _HEADERS}
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)  # type: ignore[arg-type]
