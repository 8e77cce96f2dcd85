"""Keeps the workers' entries in the layout of the previous version.

In that layout there are four Secrets, and each entry has the text of its bot.

During an upgrade, workers of the previous version read these Secrets until the workers are replaced. So a
number that has an entry in these Secrets keeps the entry, and the operator also writes changes into it. An
hour after the operator has started, it deletes the Secrets. It keeps a Secret with an entry that the registry
could not take over. After a rollback, the previous operator writes the Secrets again. The next release
removes this module.
"""

import zlib
from collections.abc import Callable

import msgspec

from waypost.contracts.registry import Number
from waypost.operator.cluster.interface import Cluster
from waypost.operator.cluster.registry_shards import LABELS, LIMIT

SECRETS = 4
KEEP_S = 3600.0
"""Seconds after the start of the operator for which the Secrets are kept."""


def home(namespace: str, name: str) -> int:
    """Returns the index of the Secret in which the previous version looks for the entries of a number."""
    return zlib.crc32(f"{namespace}/{name}".encode()) % SECRETS


def worker_secret(shard: int) -> str:
    """Returns the name that the previous version gives to a Secret with workers' entries."""
    return f"waypost-registry-worker-{shard}"


class PreviousRegistry:
    """Reads, updates and finally deletes the workers' Secrets of the previous version."""

    def __init__(self, cluster: Cluster, namespace: str, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock
        self._until = clock() + KEEP_S
        self._data: dict[int, dict[str, bytes]] | None = None

    async def get(self, namespace: str, name: str, key: str) -> Number | None:
        """Returns the entry of a number, or None if there is no entry that can be read. Raises `ClusterError`."""
        content = (await self._read()).get(home(namespace, name), {}).get(key)
        return None if content is None else _decoded(content)

    async def follow(self, number: Number, script: str | None, key: str) -> None:
        """Writes a changed number into its entry in the previous layout. Does nothing if it has no entry there.

        `script` is the text of the number's bot. If `script` is None, the bot in the entry is kept. Raises
        `ClusterError`.
        """
        shard = home(number.namespace, number.name)
        data = (await self._read()).get(shard, {})
        before = _decoded(data[key]) if key in data else None
        if before is None:
            return
        if number.bot_digest is None:
            after = number
        else:
            after = msgspec.structs.replace(number, bot=script if script is not None else before.bot)
        content = msgspec.json.encode(after)
        others = sum(len(each) + len(value) for each, value in data.items() if each != key)
        if content != data[key] and others + len(key) + len(content) <= LIMIT:
            await self._write(shard, key, content)

    async def remove(self, namespace: str, name: str, key: str) -> None:
        """Removes the entry of a number, if there is one. Raises `ClusterError`."""
        shard = home(namespace, name)
        if key in (await self._read()).get(shard, {}):
            await self._write(shard, key, None)

    async def items(self) -> list[tuple[str, bytes]]:
        """Returns keys and contents of all entries. Raises `ClusterError`."""
        return [item for each in (await self._read()).values() for item in each.items()]

    async def tidy(self, is_taken_over: Callable[[str], bool]) -> None:
        """Deletes the Secrets that no worker needs any more. Raises `ClusterError`."""
        if self._clock() < self._until:
            return
        data = await self._read()
        for shard in [each for each, entries in data.items() if all(map(is_taken_over, entries))]:
            await self._cluster.delete("Secret", self._namespace, worker_secret(shard))
            del data[shard]

    async def _read(self) -> dict[int, dict[str, bytes]]:
        """Returns the keys and values of each Secret that exists.

        The Secrets are read only once, because only this class changes them.
        """
        if self._data is None:
            data = {}
            for shard in range(SECRETS):
                stored = await self._cluster.secret(self._namespace, worker_secret(shard))
                if stored is not None:
                    data[shard] = dict(stored.data)
            self._data = self._data or data
        return self._data

    async def _write(self, shard: int, key: str, content: bytes | None) -> None:
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "namespace": self._namespace,
                "name": worker_secret(shard),
                "labels": {**LABELS, "waypost.dev/registry": "worker"},
            },
            "type": "Opaque",
        }
        await self._cluster.write_entry(manifest, key, content)
        data = (await self._read()).get(shard, {})
        if content is None:
            data.pop(key, None)
        else:
            data[key] = content


def _decoded(content: bytes) -> Number | None:
    try:
        return msgspec.json.decode(content, type=Number)
    except msgspec.MsgspecError:
        return None
