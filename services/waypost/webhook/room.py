"""Bounds the memory of requests whose signature is not known yet, in total and per client.

A connection holds a share of the room while its request is incomplete, and until the request is answered. A
request that arrives in one small piece, as nearly all do, takes no share.

- Small requests have room that large ones cannot take, so large bodies never keep ordinary deliveries out.
- A client has a share of the room, so the others never have to make do with nothing.
- If the room for small requests is full, the oldest one that is still incomplete makes place. Meta's requests are
  complete within milliseconds, so it is never theirs, however many requests somebody else leaves half sent.
- If the room for large bodies is full, a new one is refused. Only a body that has been on its way for
  `GRACE_S` makes place: otherwise many large bodies at once would push each other out, and none would arrive.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

SMALL = 64 * 1024
"""Bytes up to which a request is small."""

CONNECTION_BYTES = 8 * 1024
"""Bytes that an open connection counts for before it has sent anything: the parser and the objects around it."""

GRACE_S = 1.0
"""Seconds that a large body has before it may have to make place. A client that does not stall needs less."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes that are held."""

    total: int = 32 * 1024 * 1024
    large: int = 20 * 1024 * 1024
    """The part of `total` that requests above `SMALL` may take."""
    client: int = 16 * 1024 * 1024
    client_large: int = 12 * 1024 * 1024
    """The part of `client` that requests above `SMALL` may take: four of Meta's largest deliveries."""


LIMITS = Limits()


class _Pool:
    """Bytes that are counted against one limit."""

    __slots__ = ("incomplete", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.incomplete: dict[Share, None] = {}
        """Shares that may be closed to make place, oldest first."""


class Share:
    """The bytes that one connection holds, and their counts in the pools."""

    __slots__ = ("_client", "_close", "_holders", "_is_large", "_pools", "_room", "_since", "size")

    def __init__(self, room: "Room", client: str | None, close: Callable[[], None]) -> None:
        self._room = room
        self._client: str | None = None
        self._close = close
        self._holders = 1
        self._is_large = False
        self._since = room.clock()
        self._pools = [room.total]
        self.size = 0
        room.total.incomplete[self] = None
        if client is not None:
            self.attribute(client)

    @property
    def is_attributed(self) -> bool:
        """Returns whether the bytes are counted for a client."""
        return self._client is not None

    def attribute(self, client: str) -> None:
        """Counts the bytes for a client. Before, they count for the whole process only."""
        self._client = client
        small, large = self._room.pools_of(client)
        (large if self._is_large else small).incomplete[self] = None
        for pool in (small, large) if self._is_large else (small,):
            pool.used += self.size
            self._pools.append(pool)

    def take(self, size: int) -> bool:
        """Adds bytes that have arrived. Returns False, and adds nothing, if there is no room for them.

        May close other connections to make place.
        """
        if self._has_room_for(size, becomes_large=self.size + size > SMALL + CONNECTION_BYTES):
            for pool in self._pools:
                pool.used += size
            self.size += size
            return True
        return False

    def expect(self, size: int) -> bool:
        """Returns whether there is room for a body of `size` bytes at this time. Reserves nothing.

        A reservation would cost a client that sends no body nothing, and would keep others out.
        """
        return self._has_room_for(size, becomes_large=size > SMALL)

    def settle(self) -> None:
        """Records that the request is complete. It does not make place for others any more."""
        for pool in self._pools:
            pool.incomplete.pop(self, None)

    def hold(self) -> None:
        """Adds a holder. The bytes are given back when every holder has called `release`."""
        self._holders += 1

    def release(self) -> None:
        """Ends what one holder holds. The last one gives the bytes back."""
        self._holders -= 1
        self.settle()
        if self._holders:
            return
        for pool in self._pools:
            pool.used -= self.size
        self.size = 0
        if self._client is not None:
            self._room.forget_unused(self._client)

    def _has_room_for(self, size: int, *, becomes_large: bool) -> bool:
        if becomes_large and not self._is_large and not self._become_large():
            return False
        return all(self._make_place(pool, size) for pool in self._pools)

    def _become_large(self) -> bool:
        """Counts the bytes as those of a large request, too. Returns False if there is no room for them."""
        large = [self._room.large]
        if self._client is not None:
            large.append(self._room.pools_of(self._client)[1])
        if not all(self._make_place(pool, self.size) for pool in large):
            return False
        self.settle()
        self._is_large = True
        self._since = self._room.clock()
        for pool in large:
            pool.used += self.size
            pool.incomplete[self] = None
        self._pools += large
        return True

    def _make_place(self, pool: _Pool, size: int) -> bool:
        while pool.used + size > pool.limit:
            oldest = next(iter(pool.incomplete), None)
            if oldest is None or oldest is self:
                return False
            if oldest._is_large and self._room.clock() - oldest._since < GRACE_S:
                return False
            oldest.settle()
            oldest._close()
        return True


class Room:
    """The room of one process. Belongs to the event loop's thread."""

    def __init__(self, limits: Limits = LIMITS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.total = _Pool(limits.total)
        self.large = _Pool(limits.large)
        self._limits = limits
        self._clients: dict[str, tuple[_Pool, _Pool]] = {}
        """The pools of each client that holds bytes: of all its requests, and of its large ones."""

    def open(self, client: str | None, close: Callable[[], None]) -> Share | None:
        """Returns a share for a connection of `client`, or None if there is no room for one more.

        `client` is None while it is not known. `close` is called when the connection has to make place. It must
        end the connection and release the share.
        """
        share = Share(self, client, close)
        if share.take(CONNECTION_BYTES):
            return share
        share.release()
        return None

    @property
    def used(self) -> int:
        """Returns the bytes that are held."""
        return self.total.used

    @property
    def clients(self) -> int:
        """Returns the number of clients that hold bytes."""
        return len(self._clients)

    def pools_of(self, client: str) -> tuple[_Pool, _Pool]:
        """Returns the pools of a client: of all its requests, and of its large ones."""
        pools = self._clients.get(client)
        if pools is None:
            pools = self._clients[client] = (_Pool(self._limits.client), _Pool(self._limits.client_large))
        return pools

    def forget_unused(self, client: str) -> None:
        """Drops the pools of a client that holds nothing."""
        pools = self._clients.get(client)
        if pools is not None and not pools[0].used and not pools[0].incomplete:
            del self._clients[client]
