"""A limit on failures per client. It decides what a failure is answered, and never stands before a good delivery."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Throttle:
    """Counts failures per key in windows of a minute; when it holds too many keys, the one that failed first goes."""

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

    def is_spent(self, key: Hashable) -> bool:
        """Whether `key` has no failure left in this window."""
        began, count = self._failures.get(key, (0.0, 0))
        return count >= self._limit and self._clock() - began < self._window_s

    def fail(self, key: Hashable) -> bool:
        """Count a failure; True when it is over the limit."""
        now = self._clock()
        began, count = self._failures.pop(key, (now, 0))
        if now - began >= self._window_s:
            began, count = now, 0
        # A counter that stops at the limit keeps the window from sliding on under constant fire.
        self._failures[key] = (began, min(count + 1, self._limit + 1))
        if len(self._failures) > self._capacity:
            self._failures.popitem(last=False)
        return count >= self._limit

    def __len__(self) -> int:
        return len(self._failures)


def networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8, 192.0.2.7` as networks. Raises ValueError that names the wrong part."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def client_of(peer: str | None, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Whom to hold a failure against: the peer, or behind trusted proxies the last address that they did not add.

    `forwarded_for` is X-Forwarded-For; each proxy appends whom it was called by, so it is read from the right and only
    as long as trusted proxies speak. IPv6 addresses count by their /64, which is what one client has to itself.
    """
    address = _address(peer or "")
    hops = [hop.strip() for hop in forwarded_for.split(",")] if trusted and forwarded_for else []
    while hops and address is not None and any(address in network for network in trusted):
        hop = _address(hops.pop())
        if hop is None:
            break
        address = hop
    if address is None:
        return peer or ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
