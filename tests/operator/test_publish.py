"""Many numbers share the registry's Secrets, and a change of one number does not affect the others.

Each bot is stored only once.
"""

import asyncio
from collections import Counter
from typing import Any

import pytest

from waypost.contracts import bot_files, registry
from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster import registry_secrets
from waypost.operator.cluster.interface import ClusterAway, ClusterRefused, Manifest, Stored
from waypost.operator.cluster.quotas import REGISTRY_BYTES, parse_bytes
from waypost.operator.cluster.registry_secrets import MOVED_KEEP_S, UNUSED_KEEP_S, NoRoom, Published, Registry
from waypost.operator.cluster.registry_shards import FILL, GROW, LIMIT, Shards

from .installation import Clock, contents, published

pytestmark = pytest.mark.anyio

HELLO = "version: 1\nfallback: {reply: Hello}\n"


def entries(
    name: str, token: str = "t", script: str | None = None, namespace: str = "team-a"
) -> tuple[registry.Route, registry.Number]:
    """Returns both registry entries of a number."""
    both: dict[str, Any] = {"namespace": namespace, "name": name}
    both |= {"phone_number_id": "1", "waba_id": "2", "app_id": "3"}
    digest = None if script is None else bot_files.digest_of(script)
    return (
        registry.Route(**both, app_secrets=("s",), verify_tokens=("v",)),
        registry.Number(**both, access_token=token, bot_digest=digest),
    )


async def publish(store: Registry, name: str, script: str | None = None, **fields: Any) -> Published:
    """Publishes a number as a reconcile does, and returns what is read afterwards."""
    namespace = fields.get("namespace", "team-a")
    await store.write(await store.read(namespace, name), *entries(name, script=script, **fields), script)
    return await store.read(namespace, name)


async def attempt(store: Registry, name: str) -> str | None:
    """Publishes a number, and returns the reason if there is no room for it."""
    try:
        await publish(store, name)
    except NoRoom as error:
        return error.reason
    return None


@pytest.fixture
def cluster() -> FileCluster:
    """Returns a cluster without objects."""
    return FileCluster()


def bots(cluster: FileCluster) -> set[str]:
    """Returns the names of the stored bots."""
    return set(contents(cluster, "bot"))


async def test_an_entry_is_read_as_it_was_written(cluster: FileCluster) -> None:
    """An entry that is read equals the entry that was written.

    For a number without entries, an empty `Published` is returned.
    """
    store = Registry(cluster, "waypost", 4)
    route, number = entries("one")
    assert await store.write(Published(), route, number)
    found = await store.read("team-a", "one")
    assert (found.route, found.number) == (route, number)
    assert found.shard in range(4)
    assert await store.read("team-a", "two") == Published()


async def test_an_unchanged_entry_is_not_written(cluster: FileCluster) -> None:
    """An unchanged entry is not written again, so a resync of a thousand numbers writes nothing."""
    store = Registry(cluster, "waypost", 4)
    await publish(store, "one", HELLO)
    before = cluster.dump()
    assert not await store.write(await store.read("team-a", "one"), *entries("one", script=HELLO), HELLO)
    assert cluster.dump() == before


async def test_numbers_of_one_secret_do_not_affect_each_other(cluster: FileCluster) -> None:
    """If all numbers share one Secret, each change or withdrawal affects only the key of its number."""
    store = Registry(cluster, "waypost", 1)
    for name in ("one", "two", "three"):
        await publish(store, name)
    await publish(store, "two", token="new")
    await store.withdraw("team-a", "one")
    assert {key: each.access_token for key, each in published(cluster)[1].items()} == {
        "team-a.two.json": "new",
        "team-a.three.json": "t",
    }


async def test_an_operator_can_withdraw_an_entry_of_an_earlier_one(cluster: FileCluster) -> None:
    """An operator can remove an entry that an earlier operator wrote, because entries are found by name.

    So the entries of an object that lost its finalizer can still be removed.
    """
    await publish(Registry(cluster, "waypost"), "one")
    await Registry(cluster, "waypost").withdraw("team-a", "one")
    assert published(cluster) == ({}, {})


async def test_an_entry_that_cannot_be_read_is_replaced(cluster: FileCluster) -> None:
    """An entry that cannot be read is written again. A person may have edited it by hand."""
    store = Registry(cluster, "waypost", 1)
    route, number = entries("one")
    await store.write(Published(), route, number)
    stored = cluster.get("Secret", "waypost", "waypost-registry-webhook-0")
    assert stored is not None
    stored["data"]["team-a.one.json"] = "e30="
    cluster.put(stored)
    found = await store.read("team-a", "one")
    assert (found.route, found.number) == (None, number)
    await store.write(found, route, number)
    assert (await store.read("team-a", "one")).route == route


async def test_a_write_during_a_read_is_not_lost() -> None:
    """If a write ends while a read of the same Secret is still running, the write is not lost.

    The answer to the read is older than the write, but arrives after it.
    """
    answered, arrives = asyncio.Event(), asyncio.Event()

    class Slow(FileCluster):
        async def secret(self, namespace: str, name: str) -> Stored | None:
            found = await super().secret(namespace, name)
            if name == "waypost-registry-number-0":
                answered.set()
                await arrives.wait()
            return found

    shards = Shards(Slow(), "waypost", "number", 1, fresh_s=60.0, clock=Clock())
    reading = asyncio.create_task(shards.refresh())
    await answered.wait()
    await shards.put("team-a.coming.json", b"{}", 0)
    arrives.set()
    await reading
    assert await shards.get("team-a.coming.json") == b"{}"


async def test_a_token_in_use_anywhere_is_found(cluster: FileCluster) -> None:
    """A token is searched in all shards, because a token that is still in use must not be revoked."""
    store = Registry(cluster, "waypost", 4)
    for each in range(20):
        await publish(store, f"n{each}", token=f"t{each}")
    assert await store.carries("t13")
    assert not await store.carries("t20")


async def test_a_bot_is_stored_once_for_all_numbers_and_namespaces(cluster: FileCluster) -> None:
    """A bot is stored once for all numbers and namespaces. The entries of numbers contain only its digest."""
    store = Registry(cluster, "waypost")
    for namespace in ("team-a", "team-b"):
        for name in ("one", "two"):
            await publish(store, name, HELLO, namespace=namespace)
    assert bots(cluster) == {bot_files.file_name(bot_files.digest_of(HELLO))}
    assert not any(b"Hello" in content for content in contents(cluster, "number").values())
    assert {each.bot for each in published(cluster)[1].values()} == {HELLO}


async def test_a_bot_is_stored_before_the_entry_that_names_it(cluster: FileCluster) -> None:
    """The bot is written first, then the entry for workers, and last the entry for the webhook.

    So workers can answer every message that the webhook accepts.
    """
    written: list[str] = []

    class Recording(FileCluster):
        async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
            written.append(secret["metadata"]["name"].split("-")[2])
            await super().write_entry(secret, key, content)

    await publish(Registry(Recording(), "waypost"), "one", HELLO)
    assert written == ["bot", "number", "webhook"]


async def test_a_bot_that_no_number_has_is_removed_later(cluster: FileCluster) -> None:
    """A bot that no number uses any more is removed only after some time.

    A pod may still have an entry that names the bot.
    """
    clock = Clock()
    store = Registry(cluster, "waypost", clock=clock)
    await publish(store, "one", HELLO)
    await publish(store, "one", HELLO + "# new\n")
    await store.tidy()
    clock.advance(UNUSED_KEEP_S - 1)
    await store.tidy()
    assert len(bots(cluster)) == 2
    clock.advance(2)
    await store.tidy()
    assert bots(cluster) == {bot_files.file_name(bot_files.digest_of(HELLO + "# new\n"))}


async def test_a_bot_that_is_wanted_while_it_is_removed_is_there_afterwards() -> None:
    """If a number needs a bot while this bot is being removed, the bot is stored afterwards.

    The removal began when no number used the bot.
    """
    removing, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(FileCluster):
        async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
            if content is None:
                removing.set()
                await goes_on.wait()
            await super().write_entry(secret, key, content)

    cluster, clock = Slow(), Clock()
    store = Registry(cluster, "waypost", clock=clock, fresh_s=60.0)
    await publish(store, "one", HELLO)
    await publish(store, "one")
    await store.tidy()
    clock.advance(UNUSED_KEEP_S)
    tidying = asyncio.create_task(store.tidy())
    await removing.wait()
    goes_on.set()
    await asyncio.gather(tidying, publish(store, "two", HELLO))
    assert (await store.read("team-a", "two")).is_bot_stored
    assert bots(cluster) == {bot_files.file_name(bot_files.digest_of(HELLO))}


async def test_a_bot_whose_secret_was_deleted_is_reported_as_lost(cluster: FileCluster) -> None:
    """If a bot's Secret was deleted, the bot is reported as lost.

    The number's next reconcile writes the bot again.
    """
    store = Registry(cluster, "waypost")
    found = await publish(store, "one", HELLO)
    assert found.is_bot_stored
    cluster.remove("Secret", "waypost", "waypost-registry-bot-0")
    found = await store.read("team-a", "one")
    assert not found.is_bot_stored
    assert await store.write(found, *entries("one", script=HELLO), HELLO)
    assert (await store.read("team-a", "one")).is_bot_stored


async def test_numbers_are_spread_over_the_first_secrets(cluster: FileCluster) -> None:
    """Numbers are spread over the first four Secrets, in which an operator of the previous version looks.

    So a thousand numbers that are published together do not all wait for the patches of one Secret.
    """
    store = Registry(cluster, "waypost")
    places = Counter([(await publish(store, f"number-{each}")).shard for each in range(100)])
    assert set(places) == {0, 1, 2, 3}


# Sizes


def shards(cluster: FileCluster, count: int = 4, clock: Clock | None = None) -> Shards:
    return Shards(cluster, "waypost", "number", count, fresh_s=60.0, clock=clock or Clock())


async def fill(found: Shards, shard: int, share: float) -> None:
    """Fills a shard with one key, up to the given share of the shard's limit."""
    await found.load()
    await found.put(f"filler.{shard}", b"x" * (int(LIMIT * share) - len(f"filler.{shard}")), shard)


async def test_a_new_key_goes_to_the_first_shard_with_room(cluster: FileCluster) -> None:
    """A new key goes to its home shard if there is room, and otherwise to the first shard with room."""
    found = shards(cluster)
    await fill(found, 0, FILL)
    await fill(found, 2, FILL)
    assert found.choose("a.b.json", b"x") == 1
    assert found.choose("a.b.json", b"x", home=3) == 3
    assert found.choose("a.b.json", b"x", home=2) == 1


async def test_a_key_grows_in_its_place_and_then_moves_up(cluster: FileCluster) -> None:
    """A key that grows stays in its Secret while there is room. Then it moves to a later Secret.

    Pods read the Secrets in order, so the copy in the later Secret is used. The earlier copy can be removed later.
    """
    clock = Clock()
    found = shards(cluster, clock=clock)
    await fill(found, 1, FILL - 0.01)
    await found.put("a.b.json", b"old", 1)
    assert found.choose("a.b.json", b"x" * 100_000) == 1
    larger = b"x" * int(LIMIT * (GROW - FILL + 0.02))
    assert found.choose("a.b.json", larger) == 2
    await found.put("a.b.json", larger, 2)
    assert found.place("a.b.json") == 2
    assert found.moved() == [("a.b.json", 1)]
    assert contents(cluster, "number")["a.b.json"] == larger
    again = shards(cluster)
    await again.load()
    assert again.place("a.b.json") == 2


async def test_a_key_that_moves_down_leaves_no_copy_that_would_count(cluster: FileCluster) -> None:
    """If only an earlier Secret has room for a key, the key moves there and its old copy is removed.

    Pods would use the old copy, because it is in the later Secret.
    """
    found = shards(cluster, 2)
    await fill(found, 1, FILL - 0.01)
    await found.put("a.b.json", b"old", 1)
    larger = b"x" * int(LIMIT * (GROW - FILL + 0.02))
    shard = found.choose("a.b.json", larger)
    assert shard == 0
    await found.put("a.b.json", larger, shard)
    assert (found.place("a.b.json"), found.moved()) == (0, [])
    assert contents(cluster, "number")["a.b.json"] == larger


async def test_a_key_that_is_published_may_fill_up_its_secret(cluster: FileCluster) -> None:
    """If no Secret has room for new keys, a published number can still get a new token."""
    found = shards(cluster, 1)
    await found.load()
    await found.put("a.b.json", b"token", 0)
    await fill(found, 0, 0.95)
    assert found.choose("a.b.json", b"longer token") == 0
    assert found.choose("a.c.json", b"x") is None
    assert found.choose("a.b.json", b"x" * LIMIT) is None


async def test_writes_that_begin_together_do_not_overfill_a_secret(cluster: FileCluster) -> None:
    """Several writes that begin at the same time do not overfill a Secret.

    The size of each write is counted before the write is made.
    """
    found = shards(cluster, 8)
    await found.load()
    content = b"x" * (LIMIT // 4)

    async def write(key: str) -> int:
        shard = found.choose(key, content)
        assert shard is not None
        await found.put(key, content, shard)
        return shard

    places = Counter(await asyncio.gather(*(write(f"a.{each}.json") for each in range(16))))
    assert set(places.values()) == {2}


async def test_a_write_that_fails_does_not_keep_its_room() -> None:
    """After a failed write, the Secret is read before it is used again.

    The write may have been made although no answer arrived.
    """

    class Away(FileCluster):
        is_away = False

        async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
            await super().write_entry(secret, key, content)
            if self.is_away:
                raise ClusterAway("no answer")

    cluster = Away()
    found = shards(cluster, 1)
    await found.load()
    cluster.is_away = True
    with pytest.raises(ClusterAway):
        await found.put("a.b.json", b"written, but not known to be", 0)
    cluster.is_away = False
    assert await found.get("a.b.json") == b"written, but not known to be"


async def test_a_copy_of_a_moved_entry_is_removed_when_pods_have_the_new_one(cluster: FileCluster) -> None:
    """When an entry has moved to another Secret, its old copy is removed only after some time.

    Kubelets see the changes of two Secrets in any order.
    """
    clock = Clock()
    store = Registry(cluster, "waypost", 8, clock=clock)
    found = await publish(store, "one")
    assert found.shard is not None
    await fill(store._numbers, found.shard, GROW)
    await publish(store, "one", token="t" * 5000)
    both = [each for each in cluster.all("Secret") if "team-a.one.json" in each["data"]]
    assert len([each for each in both if "number" in each["metadata"]["name"]]) == 2
    await store.tidy()
    clock.advance(MOVED_KEEP_S)
    await store.tidy()
    both = [each for each in cluster.all("Secret") if "team-a.one.json" in each["data"]]
    assert len([each for each in both if "number" in each["metadata"]["name"]]) == 1
    assert b"t" * 5000 in contents(cluster, "number")["team-a.one.json"]


async def test_a_full_registry_refuses_a_new_number_and_keeps_the_others(cluster: FileCluster) -> None:
    """A full registry refuses a new number, but published numbers can still change their token.

    The error says who can help.
    """
    store = Registry(cluster, "waypost", 1)
    await publish(store, "one")
    await fill(store._numbers, 0, 0.75)
    with pytest.raises(NoRoom, match="full"):
        await publish(store, "two")
    assert (await publish(store, "one", token="new")).number == entries("one", token="new")[1]


# Quotas


def quota(cluster: FileCluster, text: str, namespace: str = "team-a") -> None:
    annotations = {REGISTRY_BYTES: text}
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "annotations": annotations}})


async def test_a_quota_refuses_what_would_exceed_it_and_nothing_else(cluster: FileCluster) -> None:
    """A quota refuses only a number that would exceed it.

    Published entries stay, and may change if they do not grow. Namespaces without a quota are not affected.
    """
    quota(cluster, "1k")
    store = Registry(cluster, "waypost")
    assert (await publish(store, "one")).number is not None
    outcomes = [await attempt(store, f"more-{each}") for each in range(5)]
    assert set(outcomes) == {None, "QuotaExceeded"}
    assert (await publish(store, "one", token="u")).number == entries("one", token="u")[1]
    for each in range(10):
        assert (await publish(store, f"other-{each}", namespace="team-b")).number is not None


async def test_a_quota_counts_a_bot_once(cluster: FileCluster) -> None:
    """A quota counts a bot once: ten numbers with the same bot use the space of one bot."""
    store = Registry(cluster, "waypost")
    script = HELLO + "".join(f"# {bot_files.digest_of(str(each))}\n" for each in range(500))
    quota(cluster, "1Mi")
    await publish(store, "0", script)
    one = await store.use("team-a")
    await publish(store, "1", script)
    two = await store.use("team-a")
    assert one is not None
    assert two is not None
    assert 0 < two.used - one.used < 1000
    assert one.used > len(bot_files.pack(script))


async def test_a_lowered_quota_takes_nothing_away(cluster: FileCluster) -> None:
    """If a quota is lowered below what is used, the published entries stay.

    Only growth is refused. A change that needs less space is always allowed.
    """
    clock = Clock()
    store = Registry(cluster, "waypost", clock=clock)
    await publish(store, "one", HELLO)
    quota(cluster, "100")
    clock.advance(3600)
    assert await store.refusal("team-a", "one", HELLO) is None
    refusal = await store.refusal("team-a", "one", HELLO + "# more, and more\n")
    assert refusal is not None
    assert refusal.reason == "QuotaExceeded"
    assert (await publish(store, "one", None)).number == entries("one")[1]


async def test_the_annotation_goes_before_the_default(cluster: FileCluster) -> None:
    """The quota in a namespace's annotation takes precedence over the default.

    So a platform may give one namespace a larger quota, or none at all. An invalid annotation is ignored.
    """
    quota(cluster, "0", "team-free")
    quota(cluster, "10Mi", "team-large")
    quota(cluster, "plenty", "team-odd")
    store = Registry(cluster, "waypost", quota_bytes=1000)
    quotas = {name: await store.use(name) for name in ("team-free", "team-large", "team-odd", "team-a")}
    assert {name: each and each.quota for name, each in quotas.items()} == {
        "team-free": None,
        "team-large": 10 * 2**20,
        "team-odd": 1000,
        "team-a": 1000,
    }


async def test_an_operator_that_may_not_read_namespaces_has_the_default() -> None:
    """An operator that may not read namespaces uses the default quota.

    Such an operator was installed with the rights of an earlier version.
    """

    class Forbidding(FileCluster):
        async def namespace_annotations(self, namespace: str) -> dict[str, str]:
            raise ClusterRefused("Forbidden", "namespaces is forbidden")

    assert await Registry(Forbidding(), "waypost").use("team-a") is None
    found = await Registry(Forbidding(), "waypost", quota_bytes=5).use("team-a")
    assert found is not None
    assert found.quota == 5


async def test_numbers_that_are_published_together_do_not_exceed_a_quota(cluster: FileCluster) -> None:
    """Numbers that are published at the same time do not exceed a quota together.

    Entries that are still being written count as used space.
    """
    quota(cluster, "2k")
    store = Registry(cluster, "waypost")
    outcomes = await asyncio.gather(*(publish(store, f"n{each}") for each in range(20)), return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, NoRoom)]
    assert 0 < len(refused) < 20
    found = await store.use("team-a")
    assert found is not None
    assert found.used <= 2000


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1000", 1000), ("2k", 2000), ("3Ki", 3072), ("1Mi", 2**20), ("1.5Mi", None), ("-1", None), ("", None)],
)
def test_a_quantity_is_read_as_kubernetes_writes_it(text: str, expected: int | None) -> None:
    """A quantity is read in the notation of Kubernetes. Any other text is not a quantity of bytes."""
    assert parse_bytes(text) == expected


def test_the_key_of_an_entry_is_a_file_name() -> None:
    """The key of an entry is a file name that begins with the namespace.

    A namespace has no dot, so the first dot ends it.
    """
    assert registry_secrets.key("team-a", "sales.eu") == "team-a.sales.eu.json"
