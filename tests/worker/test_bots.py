"""Tests that a worker compiles the scripts of numbers, and imports only plugins that are allowed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from waypost.allowed_plugins import AllowedPlugins
from waypost.bot.effects import Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi.messages import Text
from waypost.contracts.registry import Number
from waypost.store import dead
from waypost.worker.bots import Bots, BotUnusable
from waypost.worker.scripts import CompiledScripts

from .test_turns import NUMBER, World

PLUGIN = """
from pathlib import Path
from waypost.bot import Reply
from waypost.cloudapi.messages import Text

Path(__file__).with_suffix(".ran").touch()

def turn(state, event):
    return state, [Reply(Text("from " + __name__))]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields a folder on the import path with two bots. Each bot creates a file when it is imported."""
    for name in ("our_bot", "their_bot"):
        (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("our_bot", "their_bot"):
        sys.modules.pop(name, None)


def _asking_for(path: str) -> Number:
    return msgspec.structs.replace(NUMBER, bot=None, bot_plugin=path)


def _bots(listed: str = "") -> Bots:
    """Returns the bots of a worker that allows these plugins and has compiled no script."""
    return Bots(AllowedPlugins.read(listed), CompiledScripts(dict, 1 << 30))


def _replies(world: World) -> list[str]:
    return [row.body for row in world.rows("SELECT body->'text'->>'body' AS body FROM outbox ORDER BY id")]


@pytest.mark.parametrize("path", ["their_bot:turn", "os:_exit", "subprocess:Popen", "our_bot:turn.__globals__"])
def test_a_plugin_that_is_not_listed_is_never_imported(folder: Path, path: str) -> None:
    """A plugin that is not listed is never imported.

    The author of a number in one namespace must not run code in the workers that answer for all namespaces.
    """
    bots = _bots("our_bot:turn")
    with pytest.raises(BotUnusable):
        bots.turn(_asking_for(path))
    assert list(folder.glob("*.ran")) == []


def test_a_listed_plugin_answers(folder: Path) -> None:
    """A plugin that the platform has put on the list is imported and answers."""
    turn = _bots("our_bot:turn").turn(_asking_for("our_bot:turn"))
    assert turn is not None
    _, effects = turn({}, BotEvent("text", text="hello"))
    assert list(effects) == [Reply(Text("from our_bot"))]


def test_a_number_that_then_asks_for_what_is_not_listed_keeps_its_last_good_bot(folder: Path) -> None:
    """If a number then asks for a plugin that is not listed, its last good bot still answers people.

    The same happens for a plugin that cannot be imported.
    """
    bots = _bots("our_bot:turn")
    good = bots.turn(_asking_for("our_bot:turn"))
    assert bots.turn(_asking_for("their_bot:turn")) is good
    assert [path.name for path in folder.glob("*.ran")] == ["our_bot.ran"]


@pytest.mark.parametrize("path", ["their_bot:turn", "no_such_module_at_all:turn"])
def test_messages_for_a_plugin_that_cannot_be_used_are_dead_and_not_lost(
    database: Engine, folder: Path, path: str
) -> None:
    """Events for a plugin that is not allowed are dead, as for one that cannot be imported. They can be replayed."""
    world = World(database, number=_asking_for(path), bots=_bots("no_such_module_at_all:turn"))
    world.say("hello")
    assert [tuple(row) for row in world.rows("SELECT state, reason FROM event")] == [("dead", "BotUnusable")]
    assert [row.body for row in world.rows("SELECT body FROM message")] == []
    assert _replies(world) == []


def test_messages_are_answered_once_their_plugin_is_listed(database: Engine, folder: Path) -> None:
    """Messages are answered once their plugin is listed: after a replay, by workers that start with the new list."""
    number = _asking_for("their_bot:turn")
    World(database, number=number, bots=_bots()).say("hello")
    world = World(database, number=number, bots=_bots("their_bot:turn"))
    with database.begin() as connection:
        replayed = dead.replay(connection, dead.Selection(reason="BotUnusable"), limit=10)
    world.drain.run({lane for _, lane in replayed})
    assert _replies(world) == ["from their_bot"]


def test_stop_is_heard_though_the_plugin_may_not_run(database: Engine, folder: Path) -> None:
    """STOP counts even if the plugin may not run, because an opt-out does not depend on the list of plugins."""
    world = World(database, number=_asking_for("their_bot:turn"), bots=_bots())
    world.say("STOP")
    assert [row.source for row in world.rows("SELECT opt_out_source AS source FROM contact")] == ["keyword"]
