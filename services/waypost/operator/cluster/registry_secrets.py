"""Publishes the registry in Secrets of the release namespace.

Each number has one entry for the webhook and one for the workers. All numbers share a few Secrets, because
each Secret is mounted as a volume. A number's entry is one key in one of these Secrets. Writing or removing
an entry does not touch the entries of other numbers.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from waypost.contracts.registry import Number, Route
from waypost.operator.cluster.interface import Cluster, Manifest

Audience = Literal["webhook", "worker"]
AUDIENCES: tuple[Audience, ...] = ("webhook", "worker")

Entry = TypeVar("Entry", Route, Number)

LABELS = {"app.kubernetes.io/managed-by": "waypost-operator", "app.kubernetes.io/part-of": "waypost"}


@dataclass(frozen=True)
class Published:
    """The published entries of one number. An entry is None if it does not exist or cannot be read."""

    route: Route | None = field(default=None, repr=False)
    number: Number | None = field(default=None, repr=False)


def secret_name(audience: Audience, namespace: str, name: str, shards: int) -> str:
    """Returns the name of the Secret with a number's entry. The name changes only when `shards` changes."""
    return f"waypost-registry-{audience}-{zlib.crc32(f'{namespace}/{name}'.encode()) % shards}"


def key(namespace: str, name: str) -> str:
    """Returns the key of a number's entry in its Secret. The key becomes a file name.

    A namespace contains no dot, so the first dot in the key ends the namespace.
    """
    return f"{namespace}.{name}.json"


@dataclass
class _Shard:
    data: dict[str, bytes] = field(default_factory=dict, repr=False)
    read_at: float = float("-inf")
    written: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    """Keys that were written while the Secret is being read: the answer may be older than these writes."""
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def put(self, key: str, content: bytes | None) -> None:
        """Records that an entry was written or, if `content` is None, removed."""
        if content is None:
            self.data.pop(key, None)
        else:
            self.data[key] = content


class Registry:
    """Reads and writes the registry's Secrets in a cluster.

    A Secret that was read less than `fresh_s` seconds ago is not read again. Each Secret holds the entries of
    hundreds of numbers. Otherwise, if a thousand numbers began together, each of them would fetch all Secrets.
    Only the operator writes these Secrets.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        shards: int,
        *,
        fresh_s: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._shards = shards
        self._fresh_s = fresh_s
        self._clock = clock
        self._by_name: dict[str, _Shard] = {}

    async def read(self, namespace: str, name: str) -> Published:
        """Returns the published entries of a number."""
        route = await self._content("webhook", namespace, name)
        number = await self._content("worker", namespace, name)
        return Published(_decoded(route, Route), _decoded(number, Number))

    async def write(self, published: Published, route: Route, number: Number) -> bool:
        """Publishes the entries that differ from `published`. Returns whether any entry was written."""
        written = False
        if published.number != number:
            await self._entry("worker", number.namespace, number.name, msgspec.json.encode(number))
            written = True
        # The webhook last: what it takes in, a worker can then answer.
        if published.route != route:
            await self._entry("webhook", route.namespace, route.name, msgspec.json.encode(route))
            written = True
        return written

    async def withdraw(self, namespace: str, name: str) -> None:
        """Removes both entries of a number, if they exist."""
        for audience in AUDIENCES:
            if await self._content(audience, namespace, name) is not None:
                await self._entry(audience, namespace, name, None)

    async def names(self) -> set[tuple[str, str]]:
        """Returns namespace and name of every number that has a published entry."""
        found = set()
        for audience in AUDIENCES:
            for shard in range(self._shards):
                for each in await self._data(f"waypost-registry-{audience}-{shard}", bypass_cache=True):
                    namespace, _, rest = each.partition(".")
                    found.add((namespace, rest.removesuffix(".json")))
        return found

    async def carries(self, token: str) -> bool:
        """Returns whether the published entry of any number contains the access token `token`."""
        for shard in range(self._shards):
            for content in (await self._data(f"waypost-registry-worker-{shard}", bypass_cache=True)).values():
                entry = _decoded(content, Number)
                if entry is not None and entry.access_token == token:
                    return True
        return False

    async def _content(self, audience: Audience, namespace: str, name: str) -> bytes | None:
        data = await self._data(secret_name(audience, namespace, name, self._shards))
        return data.get(key(namespace, name))

    async def _data(self, secret: str, *, bypass_cache: bool = False) -> Mapping[str, bytes]:
        shard = self._by_name.setdefault(secret, _Shard())
        async with shard.reading:
            if bypass_cache or self._clock() - shard.read_at >= self._fresh_s:
                shard.written.clear()
                stored = await self._cluster.secret(self._namespace, secret)
                shard.data = dict(stored.data) if stored else {}
                for name, content in shard.written.items():
                    shard.put(name, content)
                shard.read_at = self._clock()
            return shard.data

    async def _entry(self, audience: Audience, namespace: str, name: str, content: bytes | None) -> None:
        manifest: Manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "namespace": self._namespace,
                "name": secret_name(audience, namespace, name, self._shards),
                "labels": {**LABELS, "waypost.dev/registry": audience},
            },
            "type": "Opaque",
        }
        shard = self._by_name.setdefault(manifest["metadata"]["name"], _Shard())
        # Not one after the other: those that are written at the same time share a patch.
        await self._cluster.write_entry(manifest, key(namespace, name), content)
        shard.put(key(namespace, name), content)
        shard.written[key(namespace, name)] = content


def _decoded(content: bytes | None, kind: type[Entry]) -> Entry | None:
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError:
        return None
