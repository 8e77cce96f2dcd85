"""The registry holds as many numbers and bots as it promises, within the limits of the API server."""

import base64
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from waypost.contracts import bot_files, registry
from waypost.dev.file_cluster import FileCluster
from waypost.dev.registry_folder import RegistryFolder
from waypost.operator.cluster.registry_secrets import SHARDS, Published, Registry
from waypost.operator.cluster.registry_shards import FILL, LIMIT

pytestmark = pytest.mark.anyio


def entries(index: int, script: str | None) -> tuple[registry.Route, registry.Number]:
    """Returns both entries of a number, with secrets as long as real ones. A team has a hundred numbers."""
    both: dict[str, Any] = {"namespace": f"team-{index // 100}", "name": f"number-{index}"}
    both |= {"phone_number_id": str(10**14 + index), "waba_id": str(10**14 + index // 10), "app_id": "1" * 15}
    digest = None if script is None else bot_files.digest_of(script)
    return (
        registry.Route(**both, app_secrets=("s" * 32,), verify_tokens=("v" * 40,)),
        registry.Number(**both, access_token="E" * 200, app_secret_proof="a" * 64, bot_digest=digest),
    )


def scripts(count: int, size: int) -> list[str]:
    """Returns different scripts of this size, which gzip makes about three times smaller."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(2000)]
    made = []
    for _ in range(count):
        lines = (
            f"  a{n}: {{keywords: [{draw.choice(words)}], reply: {' '.join(draw.choices(words, k=12))}}}\n"
            for n in range(size // 90)
        )
        made.append("".join(lines).ljust(size, "#")[:size])
    return made


async def publish(count: int, bots: Sequence[str]) -> FileCluster:
    """Publishes `count` numbers, which use the given bots in turn."""
    cluster = FileCluster()
    store = Registry(cluster, "waypost", fresh_s=60.0)
    for index in range(count):
        script = bots[index % len(bots)]
        await store.write(Published(), *entries(index, script), script)
    return cluster


def fills(cluster: FileCluster) -> dict[str, list[int]]:
    """Returns the size of each Secret in bytes, grouped by content."""
    found: dict[str, list[int]] = {}
    for secret in cluster.all("Secret"):
        size = sum(len(key) + len(base64.b64decode(value)) for key, value in secret["data"].items())
        found.setdefault(secret["metadata"]["name"].split("-")[2], []).append(size)
    return found


def files(cluster: FileCluster, folder: Path) -> registry.Snapshot[registry.Number]:
    """Returns what a worker reads from the files that `waypost dev` writes.

    Also checks that the webhook reads the same numbers, and that no file has an error.
    """
    mounted = RegistryFolder(folder)
    for secret in cluster.all("Secret"):
        mounted.update(secret["metadata"]["name"], secret["data"])
    numbers, routes = registry.numbers(folder).current, registry.routes(folder).current
    assert numbers.by_name.keys() == routes.by_name.keys()
    assert (numbers.errors, numbers.without_bot, routes.errors) == ((), (), ())
    return numbers


def most(values: Iterable[int]) -> int:
    return max(values, default=0)


async def test_twenty_thousand_numbers_fit(tmp_path: Path) -> None:
    """The registry holds twenty thousand numbers. All are in the files, and no Secret exceeds its share."""
    cluster = await publish(20_000, scripts(1, 3_000))
    assert len(files(cluster, tmp_path).by_phone_number_id) == 20_000
    found = fills(cluster)
    assert {content: len(each) for content, each in found.items()} == {"bot": 1, "number": 19, "webhook": 8}
    assert most(map(most, found.values())) <= LIMIT * FILL


async def test_a_hundred_bots_of_the_largest_size_fit(tmp_path: Path) -> None:
    """The registry holds a hundred numbers whose bots are different and have the largest size.

    Each number is read back with exactly its own bot.
    """
    bots = scripts(100, 256 * 1024)
    cluster = await publish(100, bots)
    numbers = files(cluster, tmp_path).by_phone_number_id
    assert [numbers[str(10**14 + index)].bot for index in range(100)] == bots
    assert most(fills(cluster)["bot"]) <= LIMIT * FILL
    assert len(fills(cluster)["bot"]) < SHARDS / 3


async def test_a_hundred_bots_that_gzip_cannot_make_smaller_fit(tmp_path: Path) -> None:
    """The registry holds a hundred bots that gzip cannot make smaller.

    Such bots are unusual, but a tenant can write them.
    """
    draw = random.Random(2)
    bots = ["".join(map(chr, draw.choices(range(0x4E00, 0x9FFF), k=256 * 1024 // 3))) for _ in range(100)]
    cluster = await publish(100, bots)
    assert len({each.bot for each in files(cluster, tmp_path).by_name.values()}) == 100
    assert len(fills(cluster)["bot"]) <= SHARDS


async def test_five_thousand_numbers_with_two_hundred_bots_fit(tmp_path: Path) -> None:
    """The registry holds five thousand numbers with two hundred bots.

    Each bot of 30 kB is stored once, and a worker holds its text in memory once.
    """
    cluster = await publish(5_000, scripts(200, 30_000))
    numbers = files(cluster, tmp_path).by_phone_number_id.values()
    assert len(numbers) == 5_000
    assert len({id(each.bot) for each in numbers}) == 200
    assert sum(len(each["data"]) for each in cluster.all("Secret") if "-bot-" in each["metadata"]["name"]) == 200
    assert most(map(most, fills(cluster).values())) <= LIMIT * FILL
