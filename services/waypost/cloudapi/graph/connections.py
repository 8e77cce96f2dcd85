"""A bounded number of HTTP connections, each a client of its own.

httpx's pool (httpcore 1.0) looks at every connection for each other one whenever a request begins or ends: with 50
connections a call costs 2.5 times the CPU that it costs with one, and with 100 it gets worse fourfold. And a call that
is cancelled at the wrong moment can leave its place in that pool taken for good. One small pool per connection has
neither fault.
"""

import asyncio
import contextlib
import functools
import http.cookiejar
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator

import httpx

KEEP_ALIVE_S = 30.0
"""An idle connection is closed after this: using one that Meta has just closed would cost an unknown send."""


class Connections:
    """At most `limit` calls at a time. A `transport` of the caller serves all of them instead of the network."""

    def __init__(self, limit: int, transport: httpx.AsyncBaseTransport | None) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._idle: deque[tuple[httpx.AsyncClient, float]] = deque()
        self._shared = None if transport is None else self._client(transport)

    @contextlib.asynccontextmanager
    async def one(self, wait_s: float) -> AsyncIterator[httpx.AsyncClient]:
        """A client that nobody else uses meanwhile; the one used last first, for its connection is warm.

        Raises `httpx.PoolTimeout` if none is free within `wait_s`.
        """
        try:
            async with asyncio.timeout(wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no free connection") from None
        try:
            if self._shared is not None:
                yield self._shared
                return
            client = self._idle.pop()[0] if self._idle else self._client(None)
            try:
                yield client
            except BaseException:  # a cancelled or failed call leaves a connection that nobody should rely on
                await client.aclose()
                raise
            self._idle.append((client, time.monotonic()))
            if self._idle[0][1] < time.monotonic() - KEEP_ALIVE_S:
                await self._idle.popleft()[0].aclose()
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close what is idle; calls under way close their own."""
        if self._shared is not None:
            await self._shared.aclose()
        while self._idle:
            await self._idle.pop()[0].aclose()

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    def _client(self, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=transport,
            verify=self._tls if transport is None else True,
            follow_redirects=False,  # a redirect would carry the token to wherever it points
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE_S),
            # A connection serves all numbers, so a cookie set for one must not be sent for another.
            cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),
        )
