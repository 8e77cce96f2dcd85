"""Bots written in Python: how they are found, and what is refused of what they return."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from waypost.allowed_plugins import EVERYTHING, AllowedPlugins
from waypost.bot import BotEvent, HandOff, OptIn, OptOut, Reply, plugin
from waypost.bot.plugin import PluginNotAllowed, PluginNotLoaded, PluginResultInvalid
from waypost.cloudapi.messages import Text

EVENT = BotEvent("text", text="hello", profile_name="Ann", now=1_795_435_200.0)
HELLO = Reply(Text("Hello"))
ALL = AllowedPlugins.read(EVERYTHING)


def returning(result: object) -> Callable[[object, object], object]:
    """A turn function that always returns `result`."""
    return lambda *_: result


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], str]:
    """`made(function)` is the plugin path of that function."""

    def make(function: object) -> str:
        module = ModuleType("bot_of_a_test")
        module.turn = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "bot_of_a_test", module)
        return "bot_of_a_test:turn"

    return make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path; what was imported from it is forgotten again."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_plugin_is_called_with_state_and_event(made: Callable[[object], str]) -> None:
    """And its result is passed on."""
    turn = plugin.load(made(lambda state, event: ({**state, "seen": event.text}, [HELLO])), ALL)
    assert turn({"a": 1}, EVENT) == ({"a": 1, "seen": "hello"}, (HELLO,))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "'' is no plugin path; write package.module:function"),
        ("module.function", "'module.function' is no plugin path"),
        ("../evil:turn", "'../evil:turn' is no plugin path"),
        ("a:b:c", "'a:b:c' is no plugin path"),
        ("no_such_module_at_all:turn", "importing no_such_module_at_all failed with ModuleNotFoundError"),
        ("json:nothing", "module json has no 'nothing'"),
        ("sys:maxsize", "'maxsize' is no function"),
        ("json:dumps", "'dumps' must take two arguments, state and event"),
        ("asyncio:sleep", "'sleep' is async; a turn does no I/O, write it as a plain function"),
    ],
)
def test_a_path_that_leads_to_no_turn_is_refused(path: str, told: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(PluginNotLoaded) as refused:
        plugin.load(path, ALL)
    assert told in str(refused.value)


@pytest.mark.parametrize("text", ["", "my_bot:turn", "my_bots.*"])
def test_a_plugin_that_is_not_allowed_is_not_even_imported(folder: Path, text: str) -> None:
    """Importing it would run it already."""
    (folder / "other_bot.py").write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n")
    with pytest.raises(PluginNotAllowed) as refused:
        plugin.load("other_bot:turn", AllowedPlugins.read(text))
    assert [path.name for path in folder.iterdir()] == ["other_bot.py"]
    assert "WAYPOST_BOT_PLUGINS" in str(refused.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def turn(:", "failed with SyntaxError"),
        ("raise RuntimeError('a secret')", "failed with RuntimeError"),
        ("raise SystemExit('a program, not a bot')", "failed with SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(folder: Path, code: str, told: str) -> None:
    """The kind of error is told; its text may hold anything and is left to the traceback."""
    (folder / "broken_bot.py").write_text(code)
    with pytest.raises(PluginNotLoaded) as refused:
        plugin.load("broken_bot:turn", ALL)
    assert str(refused.value) == f"broken_bot:turn: importing broken_bot {told}"


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (None, "must return (state, effects), not NoneType"),
        ([{}, []], "must return (state, effects), not list"),
        (({}, [], 1), "must return (state, effects), not tuple"),
        ((None, []), "must return a dict as the state, not NoneType"),
        (({"a": object()}, []), "the state cannot be written as JSON (TypeError)"),
        (({"a": "\ud800"}, []), "the state cannot be written as JSON (UnicodeEncodeError)"),
        (({"a": "x" * 70_000}, []), "the state has 70008 bytes; at most 65536 are allowed"),
        (({}, HELLO), "must return a list or tuple of effects, not Reply"),
        (({}, "hi"), "must return a list or tuple of effects, not str"),
        (({}, [HELLO] * 21), "asks for 21 effects; at most 20 are allowed"),
        (({}, [HELLO, Text("hi")]), "effect 1 is Text; use Reply, OptOut, OptIn or HandOff"),
        (({}, [Reply("hi")]), "effect 0 is a Reply of str; give it a message from waypost.cloudapi.messages"),  # type: ignore[arg-type]
        (({}, [OptOut("bye")]), "effect 0 holds str where a message"),  # type: ignore[arg-type]
        (({}, [OptIn({})]), "effect 0 holds dict where a message"),  # type: ignore[arg-type]
        (({}, [HandOff(5, "wait")]), "effect 0 holds str where a message"),  # type: ignore[arg-type]
        (({}, [HandOff(0)]), "effect 0 is a HandOff whose minutes are no whole number from 1"),
        (({}, [HandOff(True)]), "effect 0 is a HandOff whose minutes are no whole number from 1"),
    ],
)
def test_a_result_that_is_none_is_refused(made: Callable[[object], str], result: object, told: str) -> None:
    """Before anything of it reaches the database; what a person wrote is never quoted."""
    turn = plugin.load(made(returning(result)), ALL)
    with pytest.raises(PluginResultInvalid) as refused:
        turn({}, EVENT)
    assert told in str(refused.value)


def test_a_state_that_contains_itself_is_refused(made: Callable[[object], str]) -> None:
    """Rather than written for ever."""
    endless: dict[str, object] = {}
    endless["self"] = endless
    turn = plugin.load(made(returning((endless, []))), ALL)
    with pytest.raises(PluginResultInvalid, match="RecursionError"):
        turn({}, EVENT)


def test_what_a_plugin_raises_comes_through(made: Callable[[object], str]) -> None:
    """The worker counts it as a failed attempt."""

    def broken(state: Any, event: Any) -> Any:
        raise LookupError("no such order")

    with pytest.raises(LookupError):
        plugin.load(made(broken), ALL)({}, EVENT)


def test_a_state_is_a_copy(made: Callable[[object], str]) -> None:
    """What a plugin still holds in its hand cannot change what is stored."""
    kept: dict[str, Any] = {"list": [1]}
    state, _ = plugin.load(made(returning((kept, []))), ALL)({}, EVENT)
    kept["list"].append(2)
    assert state == {"list": [1]}
