"""Reads and writes the Secrets that hold one content of the registry, and decides which Secret has room.

A content is the routes, the numbers or the bots. Each content is spread over many Secrets, because the API
server refuses a Secret with more than 1 MiB. All these Secrets are mounted from the start, so a content grows
without a restart. Sizes are checked before a write. If the API server refused a write, it would also refuse
the changes of other teams in the same patch.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from waypost.operator.cluster.interface import Cluster, Manifest
from waypost.telemetry import metrics

Content = Literal["webhook", "number", "bot"]
"""What a Secret holds: entries for the webhook, entries for workers, or scripts."""

LABELS = {"app.kubernetes.io/managed-by": "waypost-operator", "app.kubernetes.io/part-of": "waypost"}

LIMIT = 1_048_576
"""Most bytes of data that the API server accepts in one Secret."""
FILL = 0.7
"""Share of the limit below which a Secret takes new keys. The rest is room for keys that grow."""
TOGETHER = 8
"""Secrets that are read at the same time when all are read. Each may have a megabyte."""
GROW = 0.9
"""Share of the limit below which a key may grow in its Secret. A key that grows further moves to another Secret."""


def secret_name(content: Content, shard: int) -> str:
    """Returns the name of a Secret of the registry."""
    return f"waypost-registry-{content}-{shard}"


@dataclass(eq=False)
class _Write:
    size: int
    """Bytes to count while the write is under way: the larger of what was there and what will be."""


@dataclass
class _Shard:
    data: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The stored keys; the values are empty if contents are not kept."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each key with its content. For a key that is being written, the larger of old and new."""
    total: int = 0
    writing: dict[str, "_Write"] = field(default_factory=dict)
    """The last write of each key that is being written."""
    doubtful: dict[str, "_Write"] = field(default_factory=dict)
    """Writes that failed and may have been made all the same. A read that begins afterwards settles them."""
    written: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    """Keys that were written while the Secret is being read: the answer may be older than these writes."""
    read_at: float = float("-inf")
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def resize(self, key: str, size: int) -> None:
        """Records how many bytes a key takes. A size of 0 removes the key."""
        self.total += size - self.sizes.pop(key, 0)
        if size:
            self.sizes[key] = size


class Shards:
    """Reads and writes the Secrets of one content.

    Only the operator writes these Secrets, so what they hold is kept in memory. A Secret that was read more than
    `fresh_s` seconds ago is read again before a key in it is looked up, in case a person has changed it by hand.
    Without `keeps_contents`, only keys and sizes are kept.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        content: Content,
        count: int,
        *,
        fresh_s: float,
        clock: Callable[[], float],
        keeps_contents: bool = True,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._content = content
        self._fresh_s = fresh_s
        self._clock = clock
        self._keeps_contents = keeps_contents
        self._shards = [_Shard() for _ in range(count)]
        self._places: dict[str, list[int]] = {}
        self._by_namespace: dict[str, set[str]] = {}
        self._is_loaded = False
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Reads all Secrets, if that was not done before. Raises `ClusterError`."""
        async with self._loading:
            if not self._is_loaded:
                await self.refresh()

    async def refresh(self) -> None:
        """Reads all Secrets again. Raises `ClusterError`."""
        for first in range(0, len(self._shards), TOGETHER):
            some = range(first, min(first + TOGETHER, len(self._shards)))
            await asyncio.gather(*(self._read(index, max_age_s=-1.0) for index in some))
        self._is_loaded = True

    async def get(self, key: str) -> bytes | None:
        """Returns the content of a key, or None if there is no such key.

        The content is empty if contents are not kept. Raises `ClusterError`.
        """
        await self.load()
        place = self.place(key)
        if place is None:
            return None
        await self._read(place, max_age_s=self._fresh_s)
        return self.stored(key)

    def place(self, key: str) -> int | None:
        """Returns the shard that a key is in or is being written to, or None if there is no such key.

        A key that has moved may still have a copy in its earlier Secret, which has a lower number. Pods read the
        Secrets in order, so that the copy in the later Secret is the valid one.
        """
        found = self._places.get(key)
        return None if found is None else max(found)

    def stored(self, key: str) -> bytes | None:
        """Returns the content of a key as it was last read or written, or None."""
        place = self.place(key)
        return None if place is None else self._shards[place].data.get(key)

    def size(self, key: str) -> int:
        """Returns how many bytes a key takes in its Secret, or 0."""
        place = self.place(key)
        return 0 if place is None else self._shards[place].sizes.get(key, 0)

    def keys_of(self, namespace: str) -> Collection[str]:
        """Returns the keys that belong to a namespace."""
        return self._by_namespace.get(namespace, ())

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yields all stored keys with their content, copies of moved keys included."""
        for shard in self._shards:
            yield from shard.data.items()

    def choose(self, key: str, content: bytes, *, home: int | None = None) -> int | None:
        """Returns the shard to write this content to, or None if no Secret has room.

        A key stays in its Secret while it fits there. Any other key goes to the first shard that is less than 70 %
        full. The shard `home` is tried first. If every shard is fuller than that, a key that already has a Secret may
        fill up this Secret.
        """
        size = len(key) + len(content)
        current = self.place(key)
        if current is not None and self._fits(current, key, size, GROW):
            return current
        first: Sequence[int] = () if home is None else (home,)
        if current is not None:  # a later one, so that the copy there counts as soon as pods see it
            first = range(current + 1, len(self._shards))
        for index in itertools.chain(first, range(len(self._shards))):
            if index < len(self._shards) and index != current and self._fits(index, key, size, FILL):
                return index
        return current if current is not None and self._fits(current, key, size, 1.0) else None

    async def put(self, key: str, content: bytes, shard: int) -> None:
        """Writes a key to a shard that `choose` returned. Nothing may be awaited between the two calls.

        Raises `ClusterError`.
        """
        await self._write(key, content, shard)
        for earlier in self._places[key][:]:
            if earlier > shard:  # its copy would go before this one
                await self._write(key, None, earlier)

    async def remove(self, key: str) -> bool:
        """Removes a key from every Secret. Returns whether any Secret contained the key. Raises `ClusterError`."""
        await self.load()
        places = sorted(self._places.get(key, ()))
        for shard in places:
            await self._write(key, None, shard)
        return bool(places)

    def moved(self) -> list[tuple[str, int]]:
        """Returns each key that is also in a later Secret, together with the shard of its outdated copy."""
        return [(key, each) for key, places in self._places.items() for each in sorted(places)[:-1]]

    async def remove_copy(self, key: str, shard: int) -> None:
        """Removes the copy of a moved key from its earlier Secret. Raises `ClusterError`."""
        await self._write(key, None, shard)

    def _fits(self, index: int, key: str, size: int, share: float) -> bool:
        shard = self._shards[index]
        return shard.total - shard.sizes.get(key, 0) + size <= LIMIT * share

    async def _read(self, index: int, *, max_age_s: float) -> None:
        shard = self._shards[index]
        async with shard.reading:
            if self._clock() - shard.read_at < max_age_s:
                return
            shard.written.clear()
            settled = dict(shard.doubtful)
            stored = await self._cluster.secret(self._namespace, secret_name(self._content, index))
            data = dict(stored.data) if stored else {}
            for key, content in shard.written.items():
                if content is None:
                    data.pop(key, None)
                else:
                    data[key] = content
            shard.doubtful = {key: each for key, each in shard.doubtful.items() if settled.get(key) is not each}
            self._replace(index, data)
            shard.read_at = float("-inf") if shard.doubtful else self._clock()

    def _replace(self, index: int, data: Mapping[str, bytes]) -> None:
        shard = self._shards[index]
        unsettled = {**shard.doubtful, **shard.writing}
        for key in shard.sizes.keys() - data.keys() - unsettled.keys():
            self._leave(key, index)
        for key in data.keys() - shard.sizes.keys():
            self._enter(key, index)
        sizes = {key: len(key) + len(content) for key, content in data.items()}
        for key, write in unsettled.items():
            sizes[key] = max(write.size, sizes.get(key, 0))
        shard.sizes, shard.total = sizes, sum(sizes.values())
        shard.data = {key: self._kept(content) for key, content in data.items()}
        if data or shard.total:
            self._show(index)

    async def _write(self, key: str, content: bytes | None, index: int) -> None:
        """Writes or removes a key.

        The key's size is recorded before the write ends, so that other writes that begin in this time include it.
        """
        shard = self._shards[index]
        size = 0 if content is None else len(key) + len(content)
        write = _Write(max(size, shard.sizes.get(key, 0)))
        if key not in shard.sizes:
            self._enter(key, index)
        if content is None:
            shard.data.pop(key, None)
        shard.writing[key] = write
        shard.resize(key, write.size)
        try:
            # Not one after the other: those that are written at the same time share a patch.
            await self._cluster.write_entry(self._manifest(index), key, content)
        except BaseException:
            # The write may have been made all the same, so the Secret is read before it is used again.
            shard.doubtful[key] = write
            shard.read_at = float("-inf")
            raise
        else:
            if shard.writing.get(key) is write:  # otherwise another write came after this one
                shard.doubtful.pop(key, None)
                shard.written[key] = content
                shard.resize(key, size)
                if content is None:
                    self._leave(key, index)
                else:
                    shard.data[key] = self._kept(content)
        finally:
            if shard.writing.get(key) is write:
                del shard.writing[key]
        self._show(index)

    def _kept(self, content: bytes) -> bytes:
        return content if self._keeps_contents else b""

    def _enter(self, key: str, index: int) -> None:
        places = self._places.setdefault(key, [])
        if index not in places:
            places.append(index)
        self._by_namespace.setdefault(key.partition(".")[0], set()).add(key)

    def _leave(self, key: str, index: int) -> None:
        places = self._places.get(key, [])
        if index in places:
            places.remove(index)
        if not places:
            self._places.pop(key, None)
            self._by_namespace.get(key.partition(".")[0], set()).discard(key)

    def _show(self, index: int) -> None:
        metrics.registry_bytes.labels(content=self._content, shard=str(index)).set(self._shards[index].total)

    def _manifest(self, index: int) -> Manifest:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "namespace": self._namespace,
                "name": secret_name(self._content, index),
                "labels": {**LABELS, "waypost.dev/registry": self._content},
            },
            "type": "Opaque",
        }
