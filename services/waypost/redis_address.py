"""Connects to Redis or Valkey by an address. The address names either a server or Sentinels.

Sentinels say which server is the primary. Addresses are `redis://[user:password@]host:6379/0` (`rediss://…`
for TLS), `unix:///path`, and `redis+sentinel://[user:password@]host:26379[,host:26379…]/service[/db]`
(`rediss+sentinel://…` for TLS). `?sentinel_password=…` is the password of the Sentinels themselves.
`?ssl_ca_certs=PATH` is the certificate authority of servers and Sentinels.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from redis import Redis
from redis._parsers import _RESP3Parser
from redis._parsers.socket import SocketBuffer
from redis.exceptions import InvalidResponse
from redis.sentinel import Sentinel

SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
SENTINEL_PORT = 26379

LONGEST_STRING = 64 * 1024
"""Most bytes of one string in an answer. Ours are below 10 KB; Redis allows another program 512 MB.

The number of strings has no limit here, so each reader asks for few at once.
"""


class _BoundedBuffer(SocketBuffer):
    """A buffer that reads no string of more than `LONGEST_STRING` bytes. redis-py itself has no limit."""

    def read(self, length: int, *args: Any, **options: Any) -> bytes:
        if length > LONGEST_STRING:
            raise InvalidResponse("an answer of Redis is too long")
        return super().read(length, *args, **options)


class _BoundedParser(_RESP3Parser):
    """Reads answers of Redis of a limited size. A longer answer ends the connection with `InvalidResponse`."""

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._buffer = _BoundedBuffer(connection._sock, self.socket_read_size, connection.socket_timeout)


_BOUNDED: dict[str, Any] = {"parser_class": _BoundedParser, "protocol": 3}


def connect(url: str, **options: Any) -> Redis:
    """Returns a client that has no connection yet. `options` are passed to redis-py, also for the Sentinels.

    Raises ValueError for an invalid address. The message does not repeat the address, because the address may
    contain a password. If an answer has a string of more than `LONGEST_STRING` bytes, a command raises
    `redis.InvalidResponse`.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        return Redis.from_url(url, **_BOUNDED, **options)
    parts = urlsplit(f"//{rest}")
    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    addresses = [_address(each) for each in hosts.split(",") if each]
    if not addresses or not service or not (database or "0").isdecimal():
        raise ValueError("an address of Sentinels is redis+sentinel://host:26379,host:26379/service/0")
    given = dict(parse_qsl(parts.query))
    security: dict[str, Any] = {"ssl": True} if SCHEMES[scheme] else {}
    if "ssl_ca_certs" in given:
        security["ssl_ca_certs"] = given["ssl_ca_certs"]
    user, _, password = credentials.partition(":")
    identity = {"username": unquote(user) or None, "password": unquote(password) or None}
    asked = {"password": given.get("sentinel_password"), **security, **options}
    sentinels = Sentinel(addresses, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    client: Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
        service, db=int(database or 0), **identity, **security, **_BOUNDED, **options
    )
    return client


def of_socket(path: Path) -> str:
    """Returns the address of a Unix socket in the form that `connect` accepts."""
    return f"unix://{quote(os.fsencode(path))}"


def _address(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not colon or name.endswith(":") or host.endswith("]"):
        return host.strip("[]"), SENTINEL_PORT
    if not port.isdecimal():
        raise ValueError("a port of a Sentinel is not a number")
    return name.strip("[]"), int(port)
