"""Decides which addresses a download of media may connect to.

The address of a media object comes from a webhook or from a redirect, and the request carries a token. So the
host must be one of Meta's. Its name is resolved once, every address must be public, and the connection goes to
an address that was checked: a name that leads elsewhere a moment later changes nothing.
"""

import asyncio
import ipaddress
import socket
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import httpx

from waypost.cloudapi.graph.errors import GraphRefused, GraphUnreachable

MEDIA_HOSTS = ("lookaside.fbsbx.com", ".fbcdn.net", ".whatsapp.net")
"""Hosts that serve media and may see the token. A leading dot stands for every host below that domain."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host. Raises OSError if there are none."""

_HTTPS_PORT = 443
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses of RFC 6052. Networks that have only IPv6 reach every IPv4 address through them."""
_NEVER = tuple(
    ipaddress.ip_network(each)
    for each in (
        "192.0.0.0/24",  # protocols (RFC 6890)
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "::/96",  # IPv4-compatible addresses (RFC 4291, 2.5.5.1)
        "64:ff9b:1::/48",  # NAT64 of a local network (RFC 8215)
        "2001::/23",  # Teredo and other protocols (RFC 2928)
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
        "fec0::/10",  # site-local (RFC 3879)
    )
)
"""Networks that no host of Meta is in, beyond those that `ipaddress` of all supported versions calls not global."""


class Target(NamedTuple):
    """Where a request for media goes."""

    url: httpx.URL
    """The address to connect to. Its host is an IP address if the name was resolved."""
    headers: dict[str, str]
    extensions: dict[str, object]


def is_public(address: str) -> bool:
    """Returns whether an IP address is a public one of a single host.

    Private, shared (CGNAT), loopback, link-local, multicast and reserved addresses are not. IPv6 addresses that
    contain an IPv4 address are judged by that address, or are not public.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        if ip.ipv4_mapped is not None:
            return False
        if ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if any(ip in network for network in _NEVER):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


async def resolve(host: str) -> list[str]:
    """Returns the IP addresses of a host, as the system's resolver gives them. Raises OSError if there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, _HTTPS_PORT, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class MediaAddresses:
    """Checks addresses of media and finds the IP addresses to connect to.

    Addresses on the host of `base`, the Graph API as configured, are always allowed and are not resolved here. If
    `resolve` is None, no name is resolved.
    """

    def __init__(self, base: httpx.URL, hosts: tuple[str, ...], resolve: Resolve | None) -> None:
        self._origin = (base.scheme, base.host, base.port)
        self._hosts = hosts
        self._resolve = resolve

    def checked(self, url: str) -> httpx.URL:
        """Returns the address as a URL. Raises `GraphRefused` for a host that is not Meta's."""
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL:
            raise GraphRefused.by_client("not sent: the media address is not a URL") from None
        if self._is_graph(address):
            return address
        host = address.host.lower()
        is_meta_host = any(host.endswith(each) if each.startswith(".") else host == each for each in self._hosts)
        if address.scheme == "https" and address.port is None and is_meta_host:
            return address
        raise GraphRefused.by_client("not sent: the media address is not on one of Meta's hosts")

    async def target(self, address: httpx.URL) -> Target:
        """Resolves the host of a checked address.

        Raises `GraphRefused` if one of its IP addresses is not public, and `GraphUnreachable` if it has none.
        """
        # Behind a proxy, only the proxy may be able to resolve names, and it chooses the address.
        if self._resolve is None or self._is_graph(address) or _uses_proxy(address.host):
            return Target(address, {}, {})
        try:
            found = await self._resolve(address.host)
        except OSError:
            found = []
        if not found:
            raise GraphUnreachable("the name of the media host cannot be resolved")
        if not all(is_public(each) for each in found):
            raise GraphRefused.by_client("not sent: the media address leads into a private network")
        # The connection is not kept: another host of Meta with the same IP address needs another certificate.
        headers = {"host": address.host, "connection": "close"}
        return Target(address.copy_with(host=found[0]), headers, {"sni_hostname": address.host})

    def _is_graph(self, address: httpx.URL) -> bool:
        return (address.scheme, address.host, address.port) == self._origin


def _uses_proxy(host: str) -> bool:
    proxies = urllib.request.getproxies()
    return bool(proxies.get("https") or proxies.get("all")) and not urllib.request.proxy_bypass(host)
