"""Plugins that do what a plugin must not do. Hosts import this module by the name `tests.hostile.plugins`."""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from waypost.bot import BotEvent, Effect, HandOff, OptOut, Reply
from waypost.cloudapi.messages import Text

State = dict[str, Any]
Result = tuple[State, Sequence[Effect]]


def polite(state: State, event: BotEvent) -> Result:
    """Counts the turns and repeats the text."""
    return {"turns": state.get("turns", 0) + 1}, [Reply(Text(event.text or "-"))]


def every_effect(state: State, _event: BotEvent) -> Result:
    """Asks for one effect of each kind."""
    return state, [Reply(Text("hello")), OptOut(Text("bye")), HandOff(minutes=5, reply=Text("one moment"))]


def endless(_state: State, _event: BotEvent) -> Result:
    """Never returns, and catches every exception that can be caught."""
    while True:
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001 - the kind of plugin that the test is about
            continue


def exits(_state: State, _event: BotEvent) -> Result:
    """Ends its process without an exception."""
    os._exit(0)


def raises(_state: State, event: BotEvent) -> Result:
    """Raises an exception whose message quotes the text that the person wrote."""
    raise ValueError(f"cannot book {event.text}")


def recurses(state: State, event: BotEvent) -> Result:
    """Calls itself without an end."""
    return recurses(state, event)


def eats_memory(state: State, _event: BotEvent) -> Result:
    """Allocates memory without an end."""
    hoard = []
    while True:
        hoard.append(bytes(8 * 1024 * 1024))
        state["hoard"] = len(hoard)


def returns_nonsense(_state: State, _event: BotEvent) -> Any:
    """Returns a value that is not a valid result of a turn."""
    return "nonsense"


def writes_to_its_socket(state: State, _event: BotEvent) -> Result:
    """Writes into every file descriptor that the process has."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue
    return state, []


def slow(state: State, event: BotEvent) -> Result:
    """Waits until the file that the message names exists."""
    while not os.path.exists(event.text or ""):  # noqa: PTH110 - as a plugin's author may write it
        time.sleep(0.01)
    return state, []


def environment(state: State, _event: BotEvent) -> Result:
    """Replies with the settings of Waypost that it can see, its niceness, and whether SQLAlchemy is loaded."""
    seen = sorted(name for name in os.environ if name.startswith("WAYPOST"))
    return state, [Reply(Text(f"{seen} {os.nice(0)} {'sqlalchemy' in sys.modules}"))]
