"""A host runs the turns of one plugin, one after the other, until its worker closes the socket.

This code runs in a process that the zygote has forked. The plugin's own code may do anything in this process.
The worker kills the process at the deadline, and the kernel refuses memory beyond the limit.
"""

import os
import resource
import socket
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
from opentelemetry import context as trace_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import waypost
from waypost.allowed_plugins import AllowedPlugins
from waypost.bot import effects, plugin
from waypost.bot.event import BotEvent
from waypost.cloudapi.messages import InvalidMessage, Outgoing
from waypost.hosts import frames

FRAMES_SHOWN: Final = 5
NICENESS: Final = 10
"""How far hosts stand behind the worker when processors are busy, so that scripts and sends do not wait for plugins."""

_OURS: Final = str(Path(waypost.__file__).parent)


def serve(connection: socket.socket, allowed: AllowedPlugins, *, memory_bytes: int) -> None:
    """Runs the turns that the worker sends, until the worker closes the socket."""
    _limit(memory_bytes)
    turns: dict[str, plugin.Turn] = {}
    while True:
        try:
            frame = frames.receive(connection)
        except frames.Broken:
            return
        if isinstance(frame, frames.Turn):
            frames.send(connection, _answer(frame, turns, allowed))


def _limit(memory_bytes: int) -> None:
    """Limits the memory that this process may allocate from now on.

    If the machine has too little memory, the kernel kills this process before others.
    """
    used = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[5])
    resource.setrlimit(resource.RLIMIT_DATA, (used + memory_bytes, used + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _answer(turn: frames.Turn, turns: dict[str, plugin.Turn], allowed: AllowedPlugins) -> frames.Done | frames.Failed:
    carrier = {"traceparent": turn.traceparent} if turn.traceparent else {}
    token = trace_context.attach(TraceContextTextMapPropagator().extract(carrier))
    try:
        if turn.plugin not in turns:
            turns[turn.plugin] = plugin.load(turn.plugin, allowed)
        event = BotEvent(
            type=turn.kind,
            text=turn.text,
            button_id=turn.button_id,
            profile_name=turn.profile_name,
            wamid=turn.wamid,
            occurred_at=turn.occurred_at,
            now=turn.now,
        )
        state, asked = turns[turn.plugin](msgspec.json.decode(turn.state, type=dict), event)
        return frames.Done(msgspec.json.encode(state), tuple(map(_effect, asked)))
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, and the worker must learn of it
        return frames.Failed(type(error).__name__[:100], _detail(error))
    finally:
        trace_context.detach(token)


def _effect(effect: effects.Effect) -> frames.Reply | frames.OptOut | frames.OptIn | frames.HandOff:
    match effect:
        case effects.Reply(message):
            return frames.Reply(msgspec.json.encode(message.payload()))
        case effects.OptOut(confirmation):
            return frames.OptOut(_payload(confirmation))
        case effects.OptIn(confirmation):
            return frames.OptIn(_payload(confirmation))
        case effects.HandOff(minutes, reply):
            return frames.HandOff(minutes, _payload(reply))


def _payload(message: Outgoing | None) -> bytes | None:
    return None if message is None else msgspec.json.encode(message.payload())


def _detail(error: BaseException) -> str:
    """Returns where the plugin failed.

    If the error is one of Waypost's own, its message is added, because these messages never quote a contact.
    """
    cause = error.__cause__ if isinstance(error, plugin.PluginNotLoaded) and error.__cause__ else error
    places = [f"{name}:{line} in {function}" for name, line, function in _frames(cause.__traceback__)]
    if isinstance(error, plugin.PluginError | InvalidMessage):
        places.append(str(error))
    return "; ".join(places)[:1000]


def _frames(trace: TracebackType | None) -> Sequence[tuple[str, int, str]]:
    """Returns the module, line and function of the innermost frames.

    Frames of Waypost and of Python's import system are left out.
    """
    found = [
        (str(frame.f_globals.get("__name__", "?")), line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(trace)
        if not frame.f_code.co_filename.startswith((_OURS, "<frozen importlib"))
        and frame.f_globals.get("__name__") != "importlib"
    ]
    return found[-FRAMES_SHOWN:]
