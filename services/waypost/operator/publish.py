"""What the data plane is told of a number: one entry per audience, in Secrets of the release namespace.

All numbers share a few Secrets, for each is mounted as a volume. A number's entry is one key of them, which is written
and removed without touching another number's.
"""

import zlib
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from waypost.operator.cluster import Cluster, Manifest, Stored
from waypost.registry import Number, Route

Audience = Literal["webhook", "worker"]
AUDIENCES: tuple[Audience, ...] = ("webhook", "worker")

Entry = TypeVar("Entry", Route, Number)

LABELS = {"app.kubernetes.io/managed-by": "waypost-operator", "app.kubernetes.io/part-of": "waypost"}


@dataclass(frozen=True)
class Published:
    """The entries of one number as they are now; None where there is none, or none that can be read."""

    route: Route | None = field(default=None, repr=False)
    number: Number | None = field(default=None, repr=False)


def secret_name(audience: Audience, namespace: str, name: str, shards: int) -> str:
    """The Secret that holds the entry; the same for a number as long as the count of shards is."""
    return f"waypost-registry-{audience}-{zlib.crc32(f'{namespace}/{name}'.encode()) % shards}"


def key(namespace: str, name: str) -> str:
    """The key in that Secret, which becomes a file name; a namespace holds no dot, so the first one ends it."""
    return f"{namespace}.{name}.json"


class Registry:
    """The registry's Secrets in a cluster."""

    def __init__(self, cluster: Cluster, namespace: str, shards: int) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._shards = shards

    async def read(self, namespace: str, name: str) -> Published:
        """What is published of a number."""
        routes = await self._stored("webhook", namespace, name)
        numbers = await self._stored("worker", namespace, name)
        return Published(_decoded(routes, namespace, name, Route), _decoded(numbers, namespace, name, Number))

    async def write(self, published: Published, route: Route, number: Number) -> bool:
        """Publish what differs from `published`; True if anything did."""
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
        """Take both entries away; that there are none is fine."""
        for audience in AUDIENCES:
            stored = await self._stored(audience, namespace, name)
            if stored is not None and key(namespace, name) in stored.data:
                await self._entry(audience, namespace, name, None)

    async def names(self) -> set[tuple[str, str]]:
        """Namespace and name of every number of which anything is published."""
        found = set()
        for audience in AUDIENCES:
            for shard in range(self._shards):
                stored = await self._cluster.secret(self._namespace, f"waypost-registry-{audience}-{shard}")
                for each in stored.data if stored else ():
                    namespace, _, rest = each.partition(".")
                    found.add((namespace, rest.removesuffix(".json")))
        return found

    async def carries(self, token: str) -> bool:
        """Whether any number is still published with that access token."""
        for shard in range(self._shards):
            stored = await self._cluster.secret(self._namespace, f"waypost-registry-worker-{shard}")
            for content in (stored.data if stored else {}).values():
                try:
                    entry = msgspec.json.decode(content, type=Number)
                except msgspec.MsgspecError:
                    continue
                if entry.access_token == token:
                    return True
        return False

    async def _stored(self, audience: Audience, namespace: str, name: str) -> Stored | None:
        return await self._cluster.secret(self._namespace, secret_name(audience, namespace, name, self._shards))

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
        await self._cluster.write_entry(manifest, key(namespace, name), content)


def _decoded(stored: Stored | None, namespace: str, name: str, kind: type[Entry]) -> Entry | None:
    content = stored.data.get(key(namespace, name)) if stored else None
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError:
        return None
