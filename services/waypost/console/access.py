"""Restricts access to the console.

Only people who know the password may use the console. If no password is set, only this machine may use it.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Sequence

import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from waypost.clients import Network, Throttle, client_address

LONGEST_HEADER = 1024
"""Most characters of an Authorization header that are read."""

LONG_PASSWORD = 16
"""Characters from which a password cannot be guessed over the network.

This process compares some thousand passwords a second at most. Sixteen random letters and digits have 95 bits, of
which a year of guessing covers 37, and four random words of a list have 50.
"""


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
    """ASGI middleware that checks every request to the console.

    A client that sent too many wrong passwords gets 429 for further ones. The right password is accepted at any
    time: behind a proxy, one who guesses it may share the address of one who knows it. That needs a password which
    cannot be guessed (`LONG_PASSWORD`). With a shorter one, a client has to wait before its next password is
    compared, and can keep others with its address out.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        password: str | None,
        throttle: Throttle | None = None,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._app = app
        self._password = password
        self._can_be_guessed = len(password or "") < LONG_PASSWORD
        self._throttle = Throttle(capacity=1_000) if throttle is None else throttle
        self._trusted_proxies = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 401, 403 or 429."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        peer = (scope.get("client") or ("",))[0]
        headers = Headers(scope=scope)
        if not self._password:
            if is_loopback(peer) and is_local_host(headers.get("host", "")):
                return None
            return PlainTextResponse(
                "This console has no password, so it answers its own machine only. Set WAYPOST_CONSOLE_PASSWORD.\n",
                403,
            )
        client = client_address(peer, ",".join(headers.getlist("x-forwarded-for")), self._trusted_proxies)
        if self._can_be_guessed and self._throttle.is_exhausted(client):
            # This comes before any comparison: otherwise a client could still find out the right password.
            return self._too_many(client)
        header = headers.get("authorization")
        if header is not None:
            if is_same(password_of(header) or "", self._password):
                return None
            if self._throttle.fail(client):
                return self._too_many(client)
            structlog.get_logger(__name__).warning("a console request had a wrong password")
        return PlainTextResponse(
            "The console needs its password (any user name).\n",
            401,
            {"WWW-Authenticate": 'Basic realm="Waypost console", charset="UTF-8"'},
        )

    def _too_many(self, client: str) -> Response:
        wait_s = self._throttle.wait_s(client)
        return PlainTextResponse(
            "Too many wrong passwords. Try again later.\n", 429, {"Retry-After": str(int(wait_s) + 1)}
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
