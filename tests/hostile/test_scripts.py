"""Tests of a hostile tenant whose script is made to take much processor time and memory.

Only the tenant's own number is affected.
"""

import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import Engine

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.worker.bots import Bots
from waypost.worker.scripts import CompiledScripts

from ..operator.installation import (
    FALSE,
    TRUE,
    Installation,
    installation,
    number,
    published,
    secret,
)
from ..operator.installation import script as config_map
from ..worker.test_turns import NUMBER, World

TOO_MUCH = (
    "the pattern brings all patterns of intents to 10326 instructions of RE2; at most 10000 are allowed. Use keywords "
    "for plain words, + in place of counts such as {1,100}, and [a-z] in place of large classes such as \\pL"
)
GOOD = "version: 1\nintents: {hello: {keywords: [hello], reply: Hello!}}\n"


def hostile() -> str:
    """Returns a script of 48 kB with 2,000 patterns. Each pattern alone would be allowed."""
    lines = []
    for intent in range(100):
        patterns = ", ".join(f"'(?:ab?){{1,150}}{intent:02}d{each}'" for each in range(20))
        lines.append(f"  i{intent}: {{reply: x, regex: [{patterns}]}}")
    return "version: 1\nintents:\n" + "\n".join(lines) + "\n"


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields an installation with one ready number that has a good script."""
    async with installation() as made:
        made.cluster.put(secret())
        made.cluster.put(config_map())
        made.cluster.put(number(bot={"configMapRef": {"name": "support-bot"}}))
        await made.settle()
        yield made


@pytest.mark.anyio
async def test_a_hostile_script_is_a_condition_and_the_last_good_one_stays(it: Installation) -> None:
    """A hostile script is refused, and the last good script stays in use.

    The message of the condition names the place, the limit and what to do.
    """
    before = published(it.cluster)[1]
    text = hostile()
    assert 40_000 < len(text) < 60_000
    it.cluster.put(config_map(text))
    await it.reconcile()
    assert it.condition(ConditionType.BOT_LOADED) == (FALSE, Reason.SCRIPT_INVALID)
    assert it.message(ConditionType.BOT_LOADED) == (
        f"Correct the script in the key bot.yaml of the ConfigMap support-bot: line 3, intents.i0.regex[16]: {TOO_MUCH}"
    )
    assert published(it.cluster)[1] == before
    it.cluster.put(config_map(GOOD))
    await it.reconcile()
    assert it.condition(ConditionType.BOT_LOADED) == (TRUE, Reason.LOADED)


def test_messages_of_a_number_beside_a_hostile_script_are_answered(database: Engine) -> None:
    """A number's messages are answered although another number has a hostile script.

    This also holds if an operator of an older version has published the script.
    """
    registry = {
        "100": msgspec.structs.replace(NUMBER, bot=GOOD, bot_digest=None),
        "101": msgspec.structs.replace(
            NUMBER, bot=hostile(), bot_digest=None, phone_number_id="101", namespace="hostile"
        ),
    }
    scripts = CompiledScripts(lambda: registry, 1 << 30)
    world = World(database, bots=Bots(scripts))
    world.turns.numbers = registry.get
    scripts.compile_next()
    _write_to(world, "101", "100")
    assert _states(world) == {"100": {"done"}, "101": {"waiting"}}

    scripts.compile_next()
    _write_to(world, "101", "100")
    assert _states(world)["100"] == {"done"}
    assert not scripts.compile_next()
    replies = world.rows("SELECT body->'text'->>'body' AS body FROM outbox")
    assert [row.body for row in replies] == ["Hello!", "Hello!"]


def _write_to(world: World, *numbers: str) -> None:
    for identity in numbers:
        message = {
            "id": f"wamid.{time.monotonic_ns()}",
            "timestamp": str(int(time.time())),
            "from": "15551234567",
            "type": "text",
            "text": {"body": "hello"},
        }
        metadata = {"display_phone_number": "15550783881", "phone_number_id": identity}
        world.deliver({"messages": [message], "metadata": metadata})


def _states(world: World) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in world.rows("SELECT number_id, state FROM event"):
        found.setdefault(row.number_id, set()).add(row.state)
    return found
