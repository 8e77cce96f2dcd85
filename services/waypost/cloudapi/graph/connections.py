"""A limited number of HTTP connections. Each connection has its own httpx client.

httpx's pool (httpcore 1.0) compares every connection with every other one whenever a request begins or ends.
With 50 connections, a call costs 2.5 times the CPU of a call with a single connection. The excess grows with
the square of the number of connections. A call that is cancelled at the wrong moment can also occupy its slot
in that pool forever. And bytes that no request asked for stay with a kept connection, so that the next call would
take them for its response. One small pool per connection has none of these faults. This module can be removed
when httpcore's pool has none of them.
"""

import asyncio
import contextlib
import functools
import http.cookiejar
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import httpx

KEEP_ALIVE_S = 30.0
"""Seconds after which an idle connection is closed.

A send on a connection that the server has just closed would end as unknown. So this time must be shorter than that
of every server and proxy on the way. Meta does not document its own; the simulator's is 75 s.
"""


class Connections:
    """Allows at most `limit` concurrent calls.

    If the caller passes a `transport`, it replaces the network for all calls.
    """

    def __init__(self, limit: int, transport: httpx.AsyncBaseTransport | None) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._idle: deque[tuple[httpx.AsyncClient, float]] = deque()
        self._shared = None if transport is None else self._client(transport)

    @contextlib.asynccontextmanager
    async def one(self, wait_s: float) -> AsyncIterator[httpx.AsyncClient]:
        """Yields a client that no other call uses.

        The client that was used most recently is taken first, because its connection is probably still open. Raises
        `httpx.PoolTimeout` if no client is free within `wait_s`.
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
            except BaseException:  # The state of a connection after a cancelled or failed call is unknown.
                await client.aclose()
                raise
            if _has_unasked_bytes(client):
                await client.aclose()
            else:
                self._idle.append((client, time.monotonic()))
            if self._idle and self._idle[0][1] < time.monotonic() - KEEP_ALIVE_S:
                await self._idle.popleft()[0].aclose()
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Closes idle connections. Each call in progress closes its own connection."""
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
            follow_redirects=False,  # A redirect would send the token to whatever host it names.
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE_S),
            # A connection serves all numbers, so a cookie set for one must not be sent for another.
            cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),
        )


def _has_unasked_bytes(client: httpx.AsyncClient) -> bool:
    """Returns whether bytes were received after the response that the client has just read.

    httpcore itself only looks at the socket, before the next request. It looks neither at what the HTTP parser and the
    TLS layer have already read, nor at what the event loop has. There is no public way to these, so an unknown
    structure counts as unasked bytes: then no connection is kept, and a test of this project fails.
    """
    transports = [client._transport, *(each for each in client._mounts.values() if each is not None)]
    try:
        return any(
            _has_rest(connection)
            for transport in transports
            for connection in transport._pool.connections  # type: ignore[attr-defined]
            if not connection.is_closed()
        )
    except AttributeError:
        return True


def _has_rest(connection: Any) -> bool:
    while not hasattr(connection, "_h11_state"):
        connection = connection._connection  # a tunnel, or the connection to a proxy, wraps another one
    if connection._h11_state.trailing_data[0]:
        return True
    stream = connection._network_stream._stream
    while not hasattr(stream, "_protocol"):
        if stream._read_bio.pending:
            return True
        stream = stream.transport_stream
    return bool(stream._protocol.read_queue)
