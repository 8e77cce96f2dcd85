"""Tests of a hostile tenant who fills the registry.

No other team loses a number, a bot or the change of a token.
"""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from waypost.contracts import bot_files
from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.cluster.interface import Manifest
from waypost.operator.cluster.quotas import REGISTRY_BYTES

from ..operator.installation import (
    FALSE,
    NAME,
    NAMESPACE,
    PHONE,
    TOKEN,
    TRUE,
    Installation,
    contents,
    installation,
    number,
    published,
    script,
    secret,
)

pytestmark = pytest.mark.anyio

TEAM_B, WABA_B = "team-b", "202290129340399"
APP_B, SECRET_B, TOKEN_B = "200000000000002", "canary-app-secret-b", "EAAcanaryAccessTokenB"
NUMBERS_B = [str(206540352242900 + each) for each in range(12)]
KEY = f"{NAMESPACE}.{NAME}.json"
BOT: dict[str, Any] = {"bot": {"configMapRef": {"name": "support-bot"}}}


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields an installation with the credentials of team B.

    At Meta, team B has an app, an account and a dozen numbers.
    """
    async with installation() as made:
        numbers = [
            {"phone_number_id": each, "display_phone_number": f"{PHONE[:-2]}{index:02}"}
            for index, each in enumerate(NUMBERS_B)
        ]
        await made.world(
            apps=[{"app_id": APP_B, "app_secret": SECRET_B}],
            accounts=[{"waba_id": WABA_B, "numbers": numbers}],
            tokens=[{"token": TOKEN_B, "app_id": APP_B, "wabas": [WABA_B]}],
        )
        made.cluster.put(secret(namespace=TEAM_B, appId=APP_B, appSecret=SECRET_B, accessToken=TOKEN_B))
        yield made


def large_script(seed: int, size: int = 250_000) -> str:
    """Returns a valid script that gzip hardly makes smaller."""
    draw = random.Random(seed)
    comments: list[str] = []
    while len(comments) * 103 < size:
        comments.append(
            "# " + "".join(draw.choices("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-", k=100))
        )
    return "\n".join([script()["data"]["bot.yaml"], *comments])


def config_map(name: str, text: str) -> Manifest:
    made = script(text, name)
    made["metadata"]["namespace"] = TEAM_B
    return made


def number_b(index: int) -> Manifest:
    """Returns a number of team B that has a bot of its own."""
    spec: dict[str, Any] = {"phoneNumberId": NUMBERS_B[index], "wabaId": WABA_B}
    return number(f"n{index}", namespace=TEAM_B, bot={"configMapRef": {"name": f"bot-{index}"}}, **spec)


async def flood(it: Installation, count: int) -> list[tuple[str, str]]:
    """Lets team B publish numbers with large bots. Returns the condition `Ready` of each number."""
    for index in range(count):
        it.cluster.put(config_map(f"bot-{index}", large_script(index)))
        it.cluster.put(number_b(index))
        await it.settle(f"n{index}", TEAM_B)
    return [it.condition(ConditionType.READY, f"n{index}", TEAM_B) for index in range(count)]


async def team_a(it: Installation) -> None:
    it.cluster.put(secret())
    it.cluster.put(script())
    it.cluster.put(number(**BOT))
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_a_full_registry_takes_nothing_from_those_who_are_in_it(it: Installation) -> None:
    """When team B has filled every Secret with bots, team A can still change its token, and team A's bot answers."""
    it.reconciler = it.operator(registry_shards=1)
    await team_a(it)
    ready = await flood(it, 6)
    assert ready[0] == (TRUE, Reason.AS_DESIRED)
    assert ready[-1] == (FALSE, Reason.REGISTRY_FULL)
    await it.world(tokens=[{"token": "EAAcanaryNew", "app_id": "100000000000001"}])
    it.cluster.put(secret(accessToken="EAAcanaryNew"))
    await it.settle()
    found = published(it.cluster)[1][KEY]
    assert (found.access_token, found.bot) == ("EAAcanaryNew", script()["data"]["bot.yaml"])
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_a_new_token_is_published_although_the_new_bot_has_no_room(it: Installation) -> None:
    """If team A changes its token and its bot while the registry is full, only the token changes.

    The new token is used at once, and the previous bot stays in use.
    """
    it.reconciler = it.operator(registry_shards=1)
    await team_a(it)
    await flood(it, 6)
    await it.world(tokens=[{"token": "EAAcanaryNew", "app_id": "100000000000001"}])
    it.cluster.put(script(large_script(99)))
    it.cluster.put(secret(accessToken="EAAcanaryNew"))
    await it.settle()
    found = published(it.cluster)[1][KEY]
    assert (found.access_token, found.bot) == ("EAAcanaryNew", script()["data"]["bot.yaml"])
    assert it.condition(ConditionType.BOT_LOADED) == (FALSE, Reason.REGISTRY_FULL)


async def test_the_registry_grows_without_a_restart(it: Installation) -> None:
    """The registry grows without a restart of the pods.

    If an entry does not fit into one Secret, it goes into the next Secret. Pods have mounted all of these Secrets
    from the start.
    """
    await team_a(it)
    assert set(await flood(it, 12)) == {(TRUE, Reason.AS_DESIRED)}
    assert len(contents(it.cluster, "bot")) == 13
    assert len([each for each in it.cluster.all("Secret") if "registry-bot" in each["metadata"]["name"]]) > 1


async def test_a_quota_stops_its_own_namespace_alone(it: Installation) -> None:
    """A quota stops only its own namespace, and the condition says what to do.

    The numbers that team B has already published stay. Team A has no quota and can still publish.
    """
    namespace = {"name": TEAM_B, "annotations": {REGISTRY_BYTES: "500k"}}
    it.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
    await team_a(it)
    ready = await flood(it, 5)
    assert ready[:2] == [(TRUE, Reason.AS_DESIRED)] * 2
    assert ready[-1] == (FALSE, Reason.QUOTA_EXCEEDED)
    quota = ConditionType.QUOTA_EXCEEDED
    assert it.condition(quota, "n0", TEAM_B) == (FALSE, Reason.WITHIN_QUOTA)
    assert it.condition(quota, "n4", TEAM_B) == (TRUE, Reason.REGISTRY_BYTES)
    assert it.condition(ConditionType.STALLED, "n4", TEAM_B) == (TRUE, Reason.QUOTA_EXCEEDED)
    assert it.condition(quota) == ("", "")
    it.cluster.put(script(large_script(99)))
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_a_larger_bot_beyond_the_quota_leaves_the_one_before(it: Installation) -> None:
    """If a new bot exceeds the quota, the number keeps answering with its last bot.

    A later bot that fits into the quota is published again.
    """
    it.reconciler = it.operator(quota_registry_bytes=100_000)
    await team_a(it)
    it.cluster.put(script(large_script(1)))
    await it.settle()
    assert published(it.cluster)[1][KEY].bot == script()["data"]["bot.yaml"]
    assert it.condition(ConditionType.BOT_LOADED) == (FALSE, Reason.QUOTA_EXCEEDED)
    assert it.condition(ConditionType.QUOTA_EXCEEDED) == (TRUE, Reason.REGISTRY_BYTES)
    smaller = large_script(1, 50_000)
    it.cluster.put(script(smaller))
    await it.settle()
    assert published(it.cluster)[1][KEY].bot == smaller
    assert it.condition(ConditionType.BOT_LOADED) == (TRUE, Reason.LOADED)
    assert it.condition(ConditionType.QUOTA_EXCEEDED) == (FALSE, Reason.WITHIN_QUOTA)


async def test_bots_that_are_changed_again_and_again_do_not_fill_the_registry(it: Installation) -> None:
    """Bots that are changed again and again do not fill the registry.

    A bot that no number uses any more is removed ten minutes later.
    """
    await team_a(it)
    for seed in range(12):
        it.cluster.put(script(large_script(seed)))
        await it.settle()
        await it.reconciler.sweep()
        it.clock.advance(300)
    names = set(contents(it.cluster, "bot"))
    assert bot_files.file_name(bot_files.digest_of(large_script(11))) in names
    assert len(names) <= 4
    assert TOKEN in str(published(it.cluster)[1][KEY].access_token)
