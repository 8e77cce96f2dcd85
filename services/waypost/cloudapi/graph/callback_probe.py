"""Sends our own webhook the handshake request that Meta will send.

Meta describes the handshake in "Create a webhook endpoint".
"""

import asyncio
import functools
import secrets
import ssl

import httpx

LONGEST_RESPONSE = 4096


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Returns one TLS context that all probes share, because reading the certificates takes longer than the call."""
    return httpx.create_ssl_context()


class CallbackProbe:
    """Checks a callback path of our webhook. The check is made before Meta gets the address of the callback.

    `base_url` is the webhook's address inside the cluster.
    """

    def __init__(self, base_url: str, *, timeout_s: float = 3.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s

    async def serves(self, path: str, verify_token: str) -> str | None:
        """Returns None if the callback answers as Meta requires.

        Otherwise it returns a text that says what is wrong. The text is shown in a condition.
        """
        challenge = str(secrets.randbelow(2_000_000_000))
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
        content = b""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(timeout=self._timeout_s, verify=_tls_context(), trust_env=False) as client,
                client.stream("GET", f"{self._base_url}{path}", params=query) as response,
            ):
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > LONGEST_RESPONSE:
                        break
        except (httpx.HTTPError, TimeoutError) as error:
            # Only the class is named: the message can contain the URL, and with it the verify token.
            return f"no response ({type(error).__name__})"
        if response.status_code != 200:
            return f"HTTP {response.status_code}"
        return None if content == challenge.encode() else "the response is not the challenge"
