"""Bots that are written in Python are found, and their invalid results are refused."""

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
    """Returns a turn function that always returns `result`."""
    return lambda *_: result


@pytest.fixture
def plugin_path(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], str]:
    """Returns a helper: `plugin_path(function)` returns the plugin path of the given function."""

    def make(function: object) -> str:
        module = ModuleType("bot_of_a_test")
        module.turn = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "bot_of_a_test", module)
        return "bot_of_a_test:turn"

    return make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yields a folder on the import path. Removes its modules from `sys.modules` afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_plugin_is_called_with_state_and_event(plugin_path: Callable[[object], str]) -> None:
    """A plugin is called with the state and the event. Its result is returned to the caller."""
    turn = plugin.load(plugin_path(lambda state, event: ({**state, "seen": event.text}, [HELLO])), ALL)
    assert turn({"a": 1}, EVENT) == ({"a": 1, "seen": "hello"}, (HELLO,))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "'' is not a plugin path; use package.module:function"),
        ("module.function", "'module.function' is not a plugin path"),
        ("../evil:turn", "'../evil:turn' is not a plugin path"),
        ("a:b:c", "'a:b:c' is not a plugin path"),
        ("no_such_module_at_all:turn", "importing no_such_module_at_all failed with ModuleNotFoundError"),
        ("json:nothing", "module json has no 'nothing'"),
        ("sys:maxsize", "'maxsize' is not a function"),
        ("json:dumps", "'dumps' must take two arguments, state and event"),
        ("asyncio:sleep", "'sleep' is async, but a turn does no I/O; write a plain function"),
    ],
)
def test_a_path_without_a_turn_function_is_refused(path: str, expected: str) -> None:
    """A path without a turn function is refused, and the error explains what is wrong with the path."""
    with pytest.raises(PluginNotLoaded) as refused:
        plugin.load(path, ALL)
    assert expected in str(refused.value)


@pytest.mark.parametrize("text", ["", "my_bot:turn", "my_bots.*"])
def test_a_plugin_that_is_not_allowed_is_not_even_imported(folder: Path, text: str) -> None:
    """A plugin that is not allowed is not imported, because the import would already run its code."""
    (folder / "other_bot.py").write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n")
    with pytest.raises(PluginNotAllowed) as refused:
        plugin.load("other_bot:turn", AllowedPlugins.read(text))
    assert [path.name for path in folder.iterdir()] == ["other_bot.py"]
    assert "WAYPOST_BOT_PLUGINS" in str(refused.value)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def turn(:", "failed with SyntaxError"),
        ("raise RuntimeError('a secret')", "failed with RuntimeError"),
        ("raise SystemExit('a program, not a bot')", "failed with SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_in_the_error(folder: Path, code: str, expected: str) -> None:
    """If a module cannot be imported, the error names the module and the type of the cause.

    The error does not contain the text of the cause. That text may contain anything, so it stays in the
    traceback.
    """
    (folder / "broken_bot.py").write_text(code)
    with pytest.raises(PluginNotLoaded) as refused:
        plugin.load("broken_bot:turn", ALL)
    assert str(refused.value) == f"broken_bot:turn: importing broken_bot {expected}"


@pytest.mark.parametrize(
    ("result", "expected"),
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
        (({}, [OptOut("bye")]), "effect 0 has str where a message"),  # type: ignore[arg-type]
        (({}, [OptIn({})]), "effect 0 has dict where a message"),  # type: ignore[arg-type]
        (({}, [HandOff(5, "wait")]), "effect 0 has str where a message"),  # type: ignore[arg-type]
        (({}, [HandOff(0)]), "effect 0 is a HandOff whose minutes are not a whole number of at least 1"),
        (({}, [HandOff(True)]), "effect 0 is a HandOff whose minutes are not a whole number of at least 1"),
    ],
)
def test_an_invalid_result_is_refused(plugin_path: Callable[[object], str], result: object, expected: str) -> None:
    """An invalid result is refused before any part of it reaches the database.

    The error never quotes what a person wrote.
    """
    turn = plugin.load(plugin_path(returning(result)), ALL)
    with pytest.raises(PluginResultInvalid) as refused:
        turn({}, EVENT)
    assert expected in str(refused.value)


def test_a_state_that_contains_itself_is_refused(plugin_path: Callable[[object], str]) -> None:
    """A state that contains itself is refused, because encoding it must not recurse forever."""
    endless: dict[str, object] = {}
    endless["self"] = endless
    turn = plugin.load(plugin_path(returning((endless, []))), ALL)
    with pytest.raises(PluginResultInvalid, match="RecursionError"):
        turn({}, EVENT)


def test_exceptions_of_a_plugin_propagate(plugin_path: Callable[[object], str]) -> None:
    """Exceptions of a plugin reach the worker, which counts them as a failed attempt."""

    def broken(state: Any, event: Any) -> Any:
        raise LookupError("no such order")

    with pytest.raises(LookupError):
        plugin.load(plugin_path(broken), ALL)({}, EVENT)


def test_a_state_is_a_copy(plugin_path: Callable[[object], str]) -> None:
    """The returned state is a copy. A plugin that still holds a reference cannot change what is stored."""
    held: dict[str, Any] = {"list": [1]}
    state, _ = plugin.load(plugin_path(returning((held, []))), ALL)({}, EVENT)
    held["list"].append(2)
    assert state == {"list": [1]}
