"""Ask a callback what Meta would ask before it takes it: the handshake of "Create a webhook endpoint", as a client."""

import secrets

import httpx

LONGEST_ANSWER = 4096


class CallbackProbe:
    """Asks the webhook at `base_url`, its address within reach, for the path that Meta will be given.

    `transport` stands for the network in tests.
    """

    def __init__(
        self, base_url: str, *, timeout_s: float = 3.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._client = httpx.AsyncClient(timeout=timeout_s, transport=transport, follow_redirects=False)

    async def serves(self, path: str, verify_token: str) -> str | None:
        """None when the callback answers as Meta wants it; else what is wrong, in words fit for a condition."""
        challenge = str(secrets.randbelow(2_000_000_000))
        asked = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
        try:
            async with self._client.stream("GET", f"{self._base_url}{path}", params=asked) as response:
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > LONGEST_ANSWER:
                        break
        except httpx.HTTPError as error:
            # The class alone: the message can hold the URL, and with it the verify token.
            return f"no answer ({type(error).__name__})"
        if response.status_code != 200:
            return f"HTTP {response.status_code}"
        return None if content == challenge.encode() else "another answer than the challenge"

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()
