"""Ask a callback what Meta would ask before it takes it: the handshake of "Create a webhook endpoint", as a client."""

import asyncio
import functools
import secrets
import ssl

import httpx

LONGEST_ANSWER = 4096


@functools.cache
def _trust() -> ssl.SSLContext:
    """Made once: reading the certificates takes longer than the call."""
    return httpx.create_ssl_context()


class CallbackProbe:
    """Asks the webhook at `base_url`, its address within reach, for the path that Meta will be given."""

    def __init__(self, base_url: str, *, timeout_s: float = 3.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s

    async def serves(self, path: str, verify_token: str) -> str | None:
        """None when the callback answers as Meta wants it; else what is wrong, in words fit for a condition."""
        challenge = str(secrets.randbelow(2_000_000_000))
        asked = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
        content = b""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(timeout=self._timeout_s, verify=_trust(), trust_env=False) as client,
                client.stream("GET", f"{self._base_url}{path}", params=asked) as response,
            ):
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > LONGEST_ANSWER:
                        break
        except (httpx.HTTPError, TimeoutError) as error:
            # The class alone: the message can hold the URL, and with it the verify token.
            return f"no answer ({type(error).__name__})"
        if response.status_code != 200:
            return f"HTTP {response.status_code}"
        return None if content == challenge.encode() else "another answer than the challenge"
