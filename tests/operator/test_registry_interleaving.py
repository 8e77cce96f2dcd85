"""Memory agrees with the Secrets and with what pods see, whatever writes and reads come between each other."""

import asyncio
import contextlib
import random

import pytest

from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.interface import ClusterAway, Manifest, Stored
from waypost.operator.cluster.registry_shards import Shards

from .installation import Clock, contents

pytestmark = pytest.mark.anyio

SIZES = (10, 1_000, 100_000, 300_000)
UNKNOWN = b"?"
"""Stands for a key whose last write failed: it may have been made or not."""


class Slow(FileCluster):
    """Answers after other tasks have run. Some writes fail, before or after they were made."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._draw = draw
        self._locks: dict[str, asyncio.Lock] = {}

    async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
        async with self._locks.setdefault(secret["metadata"]["name"], asyncio.Lock()):
            await self._others_run()
            fate = self._draw.random()
            if fate < 0.05:
                raise ClusterAway("not made")
            await super().write_entry(secret, key, content)
            if fate < 0.1:
                raise ClusterAway("made, but there was no answer")
            await self._others_run()

    async def secret(self, namespace: str, name: str) -> Stored | None:
        found = await super().secret(namespace, name)
        await self._others_run()
        return found

    async def _others_run(self) -> None:
        for _ in range(self._draw.randint(0, 4)):
            await asyncio.sleep(0)


class Writer:
    """Writes, removes and reads one key, and knows what it should be."""

    def __init__(self, shards: Shards, key: str, draw: random.Random, clock: Clock) -> None:
        self.key = key
        self.expected: bytes | None = None
        self._shards = shards
        self._draw = draw
        self._clock = clock

    async def work(self) -> None:
        for _ in range(12):
            self._clock.advance(self._draw.random() * 3)
            with contextlib.suppress(ClusterAway):
                await self._step()

    async def _step(self) -> None:
        step = self._draw.random()
        if step < 0.6:
            content = bytes([self._draw.randint(64, 127)]) * self._draw.choice(SIZES)
            await self._shards.load()
            shard = self._shards.choose(self.key, content, home=self._draw.choice([None, 1]))
            if shard is not None:
                self.expected = UNKNOWN
                await self._shards.put(self.key, content, shard)
                self.expected = content
        elif step < 0.75:
            self.expected = UNKNOWN
            await self._shards.remove(self.key)
            self.expected = None
        elif step < 0.85:
            await self._shards.refresh()
        else:
            found = await self._shards.get(self.key)
            assert self.expected in (found, UNKNOWN)


@pytest.mark.parametrize("seed", range(25))
async def test_memory_secrets_and_pods_agree(seed: int) -> None:
    """No write overfills a Secret, no key is lost, and the copy that counts is the last one that was written."""
    draw, clock = random.Random(seed), Clock()
    cluster = Slow(draw)
    shards = Shards(cluster, "waypost", "number", 5, fresh_s=5.0, clock=clock)
    writers = [Writer(shards, f"team.n{each}.json", draw, clock) for each in range(8)]
    await asyncio.gather(*(each.work() for each in writers))
    await shards.refresh()
    pods = contents(cluster, "number")
    for writer in writers:
        assert writer.expected in (pods.get(writer.key), UNKNOWN)
        assert shards.stored(writer.key) == pods.get(writer.key)
        assert (shards.place(writer.key) is None) == (writer.key not in pods)
    stored = dict(shards.items())
    assert stored.keys() == pods.keys()
