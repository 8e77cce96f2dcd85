"""Entries of many numbers share a few Secrets, and none touches another's."""

import asyncio
from collections import Counter

import pytest

from waypost.contracts import registry
from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster import registry_secrets
from waypost.operator.cluster.interface import Stored
from waypost.operator.cluster.registry_secrets import Published, Registry

from .installation import published

pytestmark = pytest.mark.anyio


def entries(name: str, token: str = "t") -> tuple[registry.Route, registry.Number]:
    """Of a number."""
    both = {"namespace": "team-a", "name": name, "phone_number_id": "1", "waba_id": "2", "app_id": "3"}
    return (
        registry.Route(**both, app_secrets=("s",), verify_tokens=("v",)),  # type: ignore[arg-type]
        registry.Number(**both, access_token=token),  # type: ignore[arg-type]
    )


@pytest.fixture
def cluster() -> FileCluster:
    """Empty."""
    return FileCluster()


async def test_what_is_written_is_read(cluster: FileCluster) -> None:
    """And what is not there is None."""
    shelf = Registry(cluster, "waypost", 4)
    route, number = entries("one")
    assert await shelf.write(Published(), route, number)
    assert await shelf.read("team-a", "one") == Published(route, number)
    assert await shelf.read("team-a", "two") == Published()


async def test_what_is_as_it_was_is_not_written(cluster: FileCluster) -> None:
    """A resync of a thousand numbers writes nothing."""
    shelf = Registry(cluster, "waypost", 4)
    await shelf.write(Published(), *entries("one"))
    before = cluster.dump()
    assert not await shelf.write(await shelf.read("team-a", "one"), *entries("one"))
    assert cluster.dump() == before


async def test_numbers_of_one_secret_leave_each_other_alone(cluster: FileCluster) -> None:
    """With one shard all share it: changes and withdrawals are of one key."""
    shelf = Registry(cluster, "waypost", 1)
    for name in ("one", "two", "three"):
        await shelf.write(Published(), *entries(name))
    await shelf.write(await shelf.read("team-a", "two"), *entries("two", token="new"))
    await shelf.withdraw("team-a", "one")
    assert {key: each.access_token for key, each in published(cluster)[1].items()} == {
        "team-a.two.json": "new",
        "team-a.three.json": "t",
    }


async def test_a_successor_can_withdraw_what_its_predecessor_left(cluster: FileCluster) -> None:
    """Entries go by name: an object whose finalizer was torn off leaves nothing that cannot be removed."""
    await Registry(cluster, "waypost", 1).write(Published(), *entries("one"))
    await Registry(cluster, "waypost", 1).withdraw("team-a", "one")
    assert published(cluster) == ({}, {})


async def test_an_entry_that_cannot_be_read_is_replaced(cluster: FileCluster) -> None:
    """Somebody wrote into the Secret by hand."""
    shelf = Registry(cluster, "waypost", 1)
    route, number = entries("one")
    await shelf.write(Published(), route, number)
    stored = cluster.get("Secret", "waypost", "waypost-registry-webhook-0")
    assert stored is not None
    stored["data"]["team-a.one.json"] = "e30="
    cluster.put(stored)
    found = await shelf.read("team-a", "one")
    assert found == Published(None, number)
    await shelf.write(found, route, number)
    assert await shelf.read("team-a", "one") == Published(route, number)


async def test_what_is_written_while_the_secret_is_read_is_not_forgotten() -> None:
    """The answer is from before, and arrives after."""
    answered, arrives = asyncio.Event(), asyncio.Event()

    class Slow(FileCluster):
        async def secret(self, namespace: str, name: str) -> Stored | None:
            found = await super().secret(namespace, name)
            answered.set()
            await arrives.wait()
            return found

    cluster = Slow()
    shelf = Registry(cluster, "waypost", 1, fresh_s=60.0)
    reading = asyncio.create_task(shelf.read("team-a", "coming"))
    await answered.wait()
    await shelf.write(Published(), *entries("coming"))
    arrives.set()
    await reading
    assert await shelf.read("team-a", "coming") == Published(*entries("coming"))


async def test_a_token_in_use_anywhere_is_found(cluster: FileCluster) -> None:
    """In whichever shard: it must not be revoked."""
    shelf = Registry(cluster, "waypost", 4)
    for each in range(20):
        await shelf.write(Published(), *entries(f"n{each}", token=f"t{each}"))
    assert await shelf.carries("t13")
    assert not await shelf.carries("t20")


def test_numbers_are_spread_over_the_secrets() -> None:
    """A Secret holds 1 MiB."""
    names = Counter(registry_secrets.secret_name("worker", "team", f"number-{each}", 4) for each in range(1000))
    assert len(names) == 4
    assert max(names.values()) < 350
