"""During an upgrade from the version with four Secrets per audience, workers of both versions have every number."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from waypost.contracts import registry
from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.previous_registry import KEEP_S, home, worker_secret

from .installation import (
    NAME,
    NAMESPACE,
    RELEASE,
    TOKEN,
    Installation,
    contents,
    installation,
    number,
    published,
    script,
    secret,
)

pytestmark = pytest.mark.anyio
KEY = f"{NAMESPACE}.{NAME}.json"
SHARD = home(NAMESPACE, NAME)


class PreviousNumber(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of a worker's entry that a worker of the previous version reads."""

    access_token: str
    bot: str | None = None


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields an installation with a number that an operator of the previous version published.

    The operator of the new version has just started.
    """
    async with installation() as made:
        made.cluster.put(secret())
        made.cluster.put(script())
        made.cluster.put(number(bot={"configMapRef": {"name": "support-bot"}}))
        await made.settle()
        _to_previous_layout(made.cluster)
        made.reconciler = made.operator()
        yield made


def _to_previous_layout(cluster: FileCluster) -> None:
    """Turns what is published into what an operator of the previous version would have published."""
    route, entry = (found[KEY] for found in published(cluster))
    inline = {key: value for key, value in msgspec.to_builtins(entry).items() if key != "botDigest"}
    for each in cluster.all("Secret"):
        if each["metadata"]["name"].startswith("waypost-registry-"):
            cluster.remove("Secret", RELEASE, each["metadata"]["name"])
    for name, content in (
        (f"waypost-registry-webhook-{SHARD}", msgspec.json.encode(route)),
        (worker_secret(SHARD), msgspec.json.encode(inline)),
    ):
        data = {KEY: base64.b64encode(content).decode()}
        cluster.put(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": RELEASE, "name": name}, "data": data}
        )
    manifest = cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert manifest is not None
    manifest["status"].pop("registryShard")
    cluster._store(("WhatsAppNumber", NAMESPACE, NAME), manifest)


def previous(cluster: FileCluster) -> PreviousNumber | None:
    """Returns what a worker of the previous version reads."""
    content = contents(cluster, "worker").get(KEY)
    return None if content is None else msgspec.json.decode(content, type=PreviousNumber)


async def test_a_number_is_published_for_workers_of_both_versions(it: Installation) -> None:
    """After an upgrade, workers of both versions have the number's entry.

    The status says where the new entry is, and nothing changes at Meta.
    """
    it.calls.clear()
    await it.settle()
    bot = script()["data"]["bot.yaml"]
    assert published(it.cluster)[1][KEY].bot == bot
    assert previous(it.cluster) == PreviousNumber(access_token=TOKEN, bot=bot)
    assert it.status()["registryShard"] == SHARD
    assert not [call for call in it.calls if not call.startswith("GET")]


async def test_a_change_reaches_workers_of_both_versions(it: Installation) -> None:
    """If a token and a script change during the upgrade, both layouts get the new token and the new script."""
    await it.settle()
    other = script()["data"]["bot.yaml"].replace("Hello!", "Good day!")
    await it.world(tokens=[{"token": "EAAcanaryNew", "app_id": "100000000000001"}])
    it.cluster.put(script(other))
    it.cluster.put(secret(accessToken="EAAcanaryNew"))
    await it.settle()
    found = published(it.cluster)[1][KEY]
    assert (found.access_token, found.bot) == ("EAAcanaryNew", other)
    assert previous(it.cluster) == PreviousNumber(access_token="EAAcanaryNew", bot=other)


async def test_a_broken_script_during_the_upgrade_leaves_the_published_one(it: Installation) -> None:
    """If a script cannot be read during the upgrade, the published bot stays.

    Its text comes from the entry of the previous version.
    """
    it.cluster.remove("ConfigMap", NAMESPACE, "support-bot")
    await it.settle()
    assert published(it.cluster)[1][KEY].bot == script()["data"]["bot.yaml"]


async def test_the_route_stays_in_its_secret(it: Installation) -> None:
    """A number's route stays in the Secret in which the previous version put it.

    Webhooks of the previous version mount only the first four Secrets, and its operators look only there.
    """
    await it.settle()
    holders = [each["metadata"]["name"] for each in it.cluster.all("Secret") if KEY in (each.get("data") or {})]
    assert f"waypost-registry-webhook-{SHARD}" in holders
    assert len([name for name in holders if "webhook" in name]) == 1


async def test_a_deleted_number_is_withdrawn_from_both_layouts(it: Installation) -> None:
    """A deleted number is removed from both layouts, so no worker sends for it any more."""
    await it.settle()
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    await it.reconcile()
    assert previous(it.cluster) is None
    assert published(it.cluster) == ({}, {})


async def test_the_secrets_of_the_previous_version_go_after_an_hour(it: Installation) -> None:
    """The Secrets of the previous version are deleted an hour after the start of the operator.

    By then the workers of the previous version have been replaced.
    """
    await it.settle()
    await it.reconciler.sweep()
    assert previous(it.cluster) is not None
    it.clock.advance(KEEP_S)
    await it.reconciler.sweep()
    assert it.cluster.get("Secret", RELEASE, worker_secret(SHARD)) is None
    assert published(it.cluster)[1][KEY].bot is not None


@pytest.mark.parametrize("reason", ["suspended", "without credentials"])
async def test_a_number_that_is_not_published_again_is_taken_over(it: Installation, reason: str) -> None:
    """A suspended number, or one without credentials, is copied from the previous layout to the new one.

    So its messages keep flowing after the old Secrets are deleted, and token checks find the number.
    """
    bot = {"configMapRef": {"name": "support-bot"}}
    if reason == "suspended":
        it.cluster.put(number(bot=bot, suspend=True))
    else:
        it.cluster.remove("Secret", NAMESPACE, "support-meta")
    await it.reconciler.sweep()
    found = published(it.cluster)[1][KEY]
    assert (found.access_token, found.bot) == (TOKEN, script()["data"]["bot.yaml"])
    it.clock.advance(KEEP_S)
    await it.reconciler.sweep()
    assert previous(it.cluster) is None
    assert published(it.cluster)[1][KEY] == found
    await it.reconcile()
    assert it.status()["registryShard"] == SHARD


async def test_an_entry_without_room_stays_in_the_layout_of_the_previous_version(it: Installation) -> None:
    """If the registry has no room for an entry, the entry stays in the layout of the previous version.

    So no published entry is lost.
    """
    it.reconciler = it.operator(registry_shards=0)
    it.cluster.put(number(suspend=True))
    it.clock.advance(KEEP_S)
    await it.reconciler.sweep()
    assert previous(it.cluster) is not None


async def test_a_new_installation_has_no_secrets_of_the_previous_version() -> None:
    """In a new installation, a number is published only in the new layout."""
    async with installation() as it:
        it.cluster.put(secret())
        it.cluster.put(number())
        await it.settle()
        assert previous(it.cluster) is None
        found: dict[str, Any] = contents(it.cluster, "number")
        assert msgspec.json.decode(found[KEY], type=registry.Number).access_token == TOKEN
