"""Distinguishes clients by their addresses, and limits the failures of each.

The limit changes the answer to a failure. Behind a proxy many clients may share one address, so what is right (a
signature, a verify token, a long password) is accepted however often another client of that address has failed.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Throttle:
    """Counts failures per key in windows of a minute.

    If there are too many keys, the key whose last failure is the oldest is dropped.
    """

    def __init__(
        self,
        *,
        limit: int = 10,
        window_s: float = 60.0,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._capacity = capacity
        self._clock = clock
        self._failures: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def is_exhausted(self, key: Hashable) -> bool:
        """Returns whether `key` has used up its failures in this window."""
        began, count = self._failures.get(key, (0.0, 0))
        return count >= self._limit and self._clock() - began < self._window_s

    def wait_s(self, key: Hashable) -> float:
        """Returns the seconds until the failures of `key` are forgotten. Returns 0 if none are left to forget."""
        began, count = self._failures.get(key, (0.0, 0))
        return max(0.0, began + self._window_s - self._clock()) if count else 0.0

    def fail(self, key: Hashable) -> bool:
        """Counts a failure. Returns whether the key is now over the limit."""
        now = self._clock()
        began, count = self._failures.pop(key, (now, 0))
        if now - began >= self._window_s:
            began, count = now, 0
        # `began` stays as it is: a window that moved with each failure would never end for a client that never stops.
        self._failures[key] = (began, min(count + 1, self._limit + 1))
        if len(self._failures) > self._capacity:
            self._failures.popitem(last=False)
        return count >= self._limit


def networks(text: str) -> tuple[Network, ...]:
    """Parses networks such as `10.0.0.0/8, 192.0.2.7`. Raises a ValueError that names the wrong part."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def is_trusted(peer: str | None, trusted: Sequence[Network]) -> bool:
    """Returns whether a peer is a trusted proxy, which speaks for many clients."""
    if not trusted:
        return False
    return _is_in(_address(peer or ""), trusted)


def client_address(peer: str | None, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Returns the address of the client for which a failure counts.

    This address is the peer. If the peer is a trusted proxy, the result is the last address before the chain of
    trusted proxies. `forwarded_for` is X-Forwarded-For. Each proxy appends the address that called it. The list
    is therefore read from the right, and only as long as the proxy that wrote an entry is trusted. IPv6 addresses
    count by their /64, because one client usually has a whole /64.
    """
    address = _address(peer or "")
    hops = [hop.strip() for hop in forwarded_for.split(",")] if trusted and forwarded_for else []
    while hops and _is_in(address, trusted):
        hop = _address(hops.pop())
        if hop is None:
            break
        address = hop
    if address is None:
        return peer or ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
