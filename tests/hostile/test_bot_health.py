"""Tests that a number whose plugin always fails says so in its condition, and that its neighbour's says the opposite.

The operator reads this from the worker's probe port.
"""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from waypost.contracts.bot_states import BOTS_PATH
from waypost.contracts.condition_types import ConditionStatus, Reason
from waypost.operator.bots.verdict import BotVerdict, condition
from waypost.operator.bots.watch import BotWatch
from waypost.telemetry import probes

from .test_plugins import World

pytestmark = pytest.mark.anyio


@pytest.fixture
def world(database: Engine) -> Iterator[World]:
    """Yields a world whose hosts run."""
    made = World(database)
    made.work.start()
    yield made
    made.work.stop()


async def _read(world: World, *names: str) -> list[BotVerdict]:
    """Returns the operator's verdicts after it has asked the worker of this world on its probe port."""
    documents = {BOTS_PATH: world.health.document}
    serving = probes.serve(0, ready=lambda: None, host="127.0.0.1", documents=documents)

    async def addresses() -> list[str]:
        return [f"http://127.0.0.1:{serving.port}"]

    watch = BotWatch(addresses)
    try:
        await watch.look()
    finally:
        serving.close()
    found = [watch.verdict("team", name) for name in names]
    return [each for each in found if each is not None]


async def test_a_plugin_that_raises_on_everything_is_a_condition_of_its_number(
    world: World, wait_for: Callable[..., object]
) -> None:
    """The condition names the error and the line of the plugin and what to do, and nothing that a contact wrote."""
    world.add("1", "raises")
    world.add("2", "polite")
    for contact in range(3):
        world.say("1", "a table for Ada", contact=f"1555{contact:07}")
    world.say("2", "hello")
    wait_for(lambda: world.count("1", "dead") == 3 and world.count("2", "done") == 1)
    bad, good = await _read(world, "n1", "n2")
    assert (bad.status, bad.reason) == (ConditionStatus.FALSE, Reason.TURNS_FAIL)
    for part in ("ValueError", "tests.hostile.plugins:", "in raises", "waypost dead replay"):
        assert part in bad.message
    assert "Ada" not in bad.message
    assert (good.status, good.reason) == (ConditionStatus.TRUE, Reason.ANSWERS)


@pytest.mark.parametrize(("plugin", "error"), [("exits", "HostEnded"), ("returns_nonsense", "PluginResultInvalid")])
async def test_the_first_message_shows_a_plugin_that_cannot_answer(
    world: World, wait_for: Callable[..., object], plugin: str, error: str
) -> None:
    """A plugin that has never answered is unhealthy as soon as its first message has used up its attempts."""
    world.add("1", plugin)
    world.say("1", "hello")
    wait_for(lambda: world.count("1", "dead") == 1)
    (found,) = await _read(world, "n1")
    assert (found.status, found.reason) == (ConditionStatus.FALSE, Reason.TURNS_FAIL)
    assert error in found.message


@pytest.mark.parametrize(
    ("path", "reason", "part"),
    [
        ("tests.hostile.missing:turn", Reason.PLUGIN_NOT_LOADED, "image of the workers"),
        ("os:_exit", Reason.PLUGIN_NOT_ALLOWED, "bot.plugins"),
    ],
)
async def test_a_plugin_that_cannot_be_used_is_a_condition_at_once(
    world: World, wait_for: Callable[..., object], path: str, reason: Reason, part: str
) -> None:
    """The first failed turn is enough, and the message says who can do something about it."""
    world.add("1", "polite", path=path)
    world.say("1", "hello")
    wait_for(lambda: world.count("1", "dead") == 1)
    (found,) = await _read(world, "n1")
    assert (found.status, found.reason) == (ConditionStatus.FALSE, reason)
    written = condition(found, {})
    assert written is not None
    assert part in written.message


async def test_a_corrected_plugin_is_healthy_again(world: World, wait_for: Callable[..., object]) -> None:
    """The state of another bot of the number does not count: it is unknown until it has been tried."""
    world.add("1", "raises")
    world.say("1", "hello")
    wait_for(lambda: world.count("1", "dead") == 1)
    world.add("1", "polite")
    (untried,) = await _read(world, "n1")
    assert (untried.status, untried.reason) == (ConditionStatus.UNKNOWN, Reason.NOT_TRIED)
    world.say("1", "hello again")
    wait_for(lambda: world.count("1", "done") == 1)
    (found,) = await _read(world, "n1")
    assert found.status is ConditionStatus.TRUE
