"""Tests which bot a worker uses: compiled scripts in drains, and allowed plugins in hosts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from waypost.allowed_plugins import AllowedPlugins
from waypost.bot.effects import Reply
from waypost.cloudapi.messages import Text
from waypost.contracts.registry import Number
from waypost.hosts.host import Host, Zygote
from waypost.store import dead
from waypost.store.tables import LANES
from waypost.worker.bots import Bots, Turn
from waypost.worker.hosted_turns import HostedTurns, TurnResult
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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder on the import path of hosts with two bots. Each bot creates a file when it is imported."""
    for name in ("our_bot", "their_bot"):
        (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


class Hosted:
    """A worker's hosts for one number, with a list of allowed plugins. They handle the number's messages."""

    def __init__(self, engine: Engine, allowed: str) -> None:
        self.zygote = Zygote(allowed, memory_bytes=64 * 1024 * 1024)
        self.host: Host = self.zygote.start_host()
        self.number = NUMBER
        self.last_script: Turn | None = None
        self.turns = HostedTurns(
            engine,
            lambda _number_id: self.number,
            allowed=AllowedPlugins.read(allowed),
            deadline_s=60,
            wake_sender=lambda _conversations: None,
            charge=lambda _incoming: None,
            last_script=lambda _number: self.last_script,
            retry_delays_s=(0.0,),
        )

    def run(self, path: str) -> None:
        """Takes all turns that are due, with the plugin at this path."""
        self.number = _asking_for(path)
        while self.turns.take(NUMBER.phone_number_id, self.host, range(LANES)) is not TurnResult.NONE:
            pass

    def close(self) -> None:
        """Ends the processes."""
        self.host.close()
        self.zygote.close()


@pytest.fixture
def hosted(database: Engine, folder: Path) -> Iterator[Callable[[str], Hosted]]:
    """Yields a function that starts hosts for a list of allowed plugins."""
    started: list[Hosted] = []

    def start(allowed: str) -> Hosted:
        started.append(Hosted(database, allowed))
        return started[-1]

    yield start
    for each in started:
        each.close()


def _asking_for(path: str) -> Number:
    return msgspec.structs.replace(NUMBER, bot=None, bot_plugin=path)


def _scripts() -> Bots:
    return Bots(CompiledScripts(dict, 1 << 30))


def _said(database: Engine, *texts: str) -> World:
    """Returns a world in which a contact has written to a number with a plugin.

    The drains of this world leave the messages to the hosts.
    """
    world = World(database, number=_asking_for("our_bot:turn"), bots=_scripts())
    for body in texts:
        world.say(body)
    return world


def _replies(world: World) -> list[str]:
    return [row.body for row in world.rows("SELECT body->'text'->>'body' AS body FROM outbox ORDER BY id")]


def _events(world: World) -> list[tuple[str, str | None]]:
    return [tuple(row) for row in world.rows("SELECT state, reason FROM event ORDER BY id")]


@pytest.mark.parametrize("path", ["their_bot:turn", "os:_exit", "subprocess:Popen", "our_bot:turn.__globals__"])
def test_a_plugin_that_is_not_listed_is_never_imported(
    database: Engine, hosted: Callable[[str], Hosted], folder: Path, path: str
) -> None:
    """A plugin that is not listed is never imported.

    The author of a number in one namespace must not run code in the workers that answer for all namespaces.
    """
    world = _said(database, "hello")
    hosted("our_bot:turn").run(path)
    assert _events(world) == [("dead", "BotUnusable")]
    assert list(folder.glob("*.ran")) == []


def test_a_listed_plugin_answers(database: Engine, hosted: Callable[[str], Hosted]) -> None:
    """A plugin that the platform has put on the list is imported and answers."""
    world = _said(database, "hello")
    hosted("our_bot:turn").run("our_bot:turn")
    assert _replies(world) == ["from our_bot"]


@pytest.mark.parametrize("path", ["their_bot:turn", "no_such_module_at_all:turn"])
def test_a_number_that_then_asks_for_what_cannot_be_used_keeps_its_last_good_bot(
    database: Engine, hosted: Callable[[str], Hosted], path: str
) -> None:
    """A number keeps its last good bot if it later asks for a plugin that is not listed or cannot be imported."""
    worker = hosted("our_bot:turn,no_such_module_at_all:turn")
    world = _said(database, "hello")
    worker.run("our_bot:turn")
    world.say("again")
    worker.run(path)
    assert _replies(world) == ["from our_bot", "from our_bot"]


@pytest.mark.parametrize("path", ["their_bot:turn", "no_such_module_at_all:turn"])
def test_a_number_whose_first_plugin_cannot_be_used_keeps_its_last_script(
    database: Engine, hosted: Callable[[str], Hosted], path: str
) -> None:
    """If a number changes from a script to a plugin that cannot be used, the script still answers people."""
    worker = hosted("no_such_module_at_all:turn")
    worker.last_script = lambda state, _event: (state, [Reply(Text("from the script"))])
    world = _said(database, "hello")
    worker.run(path)
    assert _replies(world) == ["from the script"]


@pytest.mark.parametrize("path", ["their_bot:turn", "no_such_module_at_all:turn"])
def test_messages_for_a_plugin_that_cannot_be_used_are_dead_and_not_lost(
    database: Engine, hosted: Callable[[str], Hosted], path: str
) -> None:
    """Events for a plugin that cannot be used are dead, and their detail says why.

    Once the plugin is listed, a replay answers the events.
    """
    world = _said(database, "hello")
    hosted("no_such_module_at_all:turn").run(path)
    assert _events(world) == [("dead", "BotUnusable")]
    ((detail,),) = [tuple(row) for row in world.rows("SELECT detail FROM event")]
    assert path.partition(":")[0] in detail
    assert _replies(world) == []
    with database.begin() as connection:
        assert dead.replay(connection, dead.Selection(reason="BotUnusable"), limit=10)
    hosted("their_bot:turn").run("their_bot:turn")
    assert _replies(world) == ["from their_bot"]


@pytest.mark.parametrize("allowed", ["", "their_bot:turn"])
def test_stop_counts_before_a_plugin_is_asked(
    database: Engine, hosted: Callable[[str], Hosted], folder: Path, allowed: str
) -> None:
    """STOP is recorded without asking a plugin, so a bot in Python cannot ignore it.

    This also holds if the plugin may not run.
    """
    world = _said(database, "STOP")
    hosted(allowed).run("their_bot:turn")
    assert [row.source for row in world.rows("SELECT opt_out_source AS source FROM contact")] == ["keyword"]
    assert _replies(world) == []
    assert list(folder.glob("*.ran")) == []
