"""Entries of many numbers share a few Secrets, and no number changes another's entry."""

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
    """Returns both registry entries of a number."""
    both = {"namespace": "team-a", "name": name, "phone_number_id": "1", "waba_id": "2", "app_id": "3"}
    return (
        registry.Route(**both, app_secrets=("s",), verify_tokens=("v",)),
        registry.Number(**both, access_token=token),  # type: ignore[arg-type]  # mypy matches `both` with `bot` too
    )


@pytest.fixture
def cluster() -> FileCluster:
    """Returns a cluster without objects."""
    return FileCluster()


async def test_an_entry_is_read_as_it_was_written(cluster: FileCluster) -> None:
    """A written entry is read back unchanged. A number without entries reads as an empty `Published`."""
    store = Registry(cluster, "waypost", 4)
    route, number = entries("one")
    assert await store.write(Published(), route, number)
    assert await store.read("team-a", "one") == Published(route, number)
    assert await store.read("team-a", "two") == Published()


async def test_an_unchanged_entry_is_not_written(cluster: FileCluster) -> None:
    """An unchanged entry is not written, so a resync of a thousand numbers writes nothing."""
    store = Registry(cluster, "waypost", 4)
    await store.write(Published(), *entries("one"))
    before = cluster.dump()
    assert not await store.write(await store.read("team-a", "one"), *entries("one"))
    assert cluster.dump() == before


async def test_numbers_of_one_secret_do_not_affect_each_other(cluster: FileCluster) -> None:
    """When all numbers share one Secret, each change or withdrawal affects only its own key."""
    store = Registry(cluster, "waypost", 1)
    for name in ("one", "two", "three"):
        await store.write(Published(), *entries(name))
    await store.write(await store.read("team-a", "two"), *entries("two", token="new"))
    await store.withdraw("team-a", "one")
    assert {key: each.access_token for key, each in published(cluster)[1].items()} == {
        "team-a.two.json": "new",
        "team-a.three.json": "t",
    }


async def test_an_operator_can_withdraw_an_entry_of_an_earlier_one(cluster: FileCluster) -> None:
    """An operator can withdraw entries that an earlier operator wrote, because entries are found by name.

    So entries of an object that lost its finalizer can still be removed.
    """
    await Registry(cluster, "waypost", 1).write(Published(), *entries("one"))
    await Registry(cluster, "waypost", 1).withdraw("team-a", "one")
    assert published(cluster) == ({}, {})


async def test_an_entry_that_cannot_be_read_is_replaced(cluster: FileCluster) -> None:
    """An entry that cannot be read, for example after an edit by hand, is written again."""
    store = Registry(cluster, "waypost", 1)
    route, number = entries("one")
    await store.write(Published(), route, number)
    stored = cluster.get("Secret", "waypost", "waypost-registry-webhook-0")
    assert stored is not None
    stored["data"]["team-a.one.json"] = "e30="
    cluster.put(stored)
    found = await store.read("team-a", "one")
    assert found == Published(None, number)
    await store.write(found, route, number)
    assert await store.read("team-a", "one") == Published(route, number)


async def test_a_write_during_a_read_is_not_lost() -> None:
    """A write that is made during a read is not lost, although the answer to the read is older and arrives later."""
    answered, arrives = asyncio.Event(), asyncio.Event()

    class Slow(FileCluster):
        async def secret(self, namespace: str, name: str) -> Stored | None:
            found = await super().secret(namespace, name)
            answered.set()
            await arrives.wait()
            return found

    cluster = Slow()
    store = Registry(cluster, "waypost", 1, fresh_s=60.0)
    reading = asyncio.create_task(store.read("team-a", "coming"))
    await answered.wait()
    await store.write(Published(), *entries("coming"))
    arrives.set()
    await reading
    assert await store.read("team-a", "coming") == Published(*entries("coming"))


async def test_a_token_in_use_anywhere_is_found(cluster: FileCluster) -> None:
    """All shards are searched, since a token in use must not be revoked."""
    store = Registry(cluster, "waypost", 4)
    for each in range(20):
        await store.write(Published(), *entries(f"n{each}", token=f"t{each}"))
    assert await store.carries("t13")
    assert not await store.carries("t20")


def test_numbers_are_spread_over_the_secrets() -> None:
    """The numbers are spread evenly, since a Secret holds 1 MiB."""
    names = Counter(registry_secrets.secret_name("worker", "team", f"number-{each}", 4) for each in range(1000))
    assert len(names) == 4
    assert max(names.values()) < 350
