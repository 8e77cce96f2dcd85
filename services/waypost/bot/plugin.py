"""Loads bots written in Python. The registry names such a bot as `package.module:function`.

A plugin function receives the conversation's state and the event, and returns the new state and the effects.
This module checks the result. So a mistake in the result raises an error before anything is stored, and not
later when a database row is read.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence

import msgspec

from waypost.allowed_plugins import PATH, AllowedPlugins
from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.event import BotEvent
from waypost.bot.state import State
from waypost.cloudapi.message_types import MessageType
from waypost.cloudapi.messages import Outgoing

Turn = Callable[[State, BotEvent], tuple[State, Sequence[Effect]]]

MOST_EFFECTS = 20
LONGEST_STATE = 64 * 1024
"""The largest state of a plugin, in bytes of JSON. The state is read and written with every message."""


class PluginError(Exception):
    """A plugin cannot be used. The error message says why and never quotes a contact. A retry does not help."""


class PluginNotAllowed(PluginError):
    """The platform's list of allowed plugins does not contain this plugin. None of its code was imported."""


class PluginNotLoaded(PluginError):
    """The path does not lead to a function that could serve as a turn."""


class PluginResultInvalid(PluginError):
    """The plugin returned something that is not a valid result of a turn."""


def load(path: str, allowed: AllowedPlugins) -> Turn:
    """Returns the turn function at `package.module:function`. A wrapper checks the results of the function.

    Raises `PluginNotAllowed` before anything is imported. Raises `PluginNotLoaded` if the function cannot be
    used. The returned function raises `PluginResultInvalid` and any error that the plugin raises.
    """
    if not PATH.fullmatch(path):
        raise PluginNotLoaded(f"{path[:200]!r} is not a plugin path; use package.module:function")
    if path not in allowed:
        raise PluginNotAllowed(f"{path} is not allowed: add it to the platform's list of plugins, WAYPOST_BOT_PLUGINS")
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise PluginNotLoaded(f"{path}: importing {module_name} failed with {type(error).__name__}") from error
    function = getattr(module, name, None)
    if function is None:
        raise PluginNotLoaded(f"{path}: module {module_name} has no {name!r}")
    if not callable(function):
        raise PluginNotLoaded(f"{path}: {name!r} is not a function")
    if inspect.iscoroutinefunction(function):
        raise PluginNotLoaded(f"{path}: {name!r} is async, but a turn does no I/O; write a plain function")
    try:
        inspect.signature(function).bind({}, BotEvent(MessageType.TEXT))
    except TypeError:
        raise PluginNotLoaded(f"{path}: {name!r} must take two arguments, state and event") from None
    except ValueError:
        pass  # A function written in C may have no signature; the first call shows whether it fits.

    def checked(state: State, event: BotEvent) -> tuple[State, Sequence[Effect]]:
        return _checked(path, function(state, event))

    return checked


def _checked(path: str, result: object) -> tuple[State, tuple[Effect, ...]]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise PluginResultInvalid(f"{path} must return (state, effects), not {_kind(result)}")
    state, effects = result
    if not isinstance(state, dict):
        raise PluginResultInvalid(f"{path} must return a dict as the state, not {_kind(state)}")
    try:
        encoded = msgspec.json.encode(state)
    except (TypeError, ValueError, RecursionError) as error:
        raise PluginResultInvalid(f"{path}: the state cannot be written as JSON ({type(error).__name__})") from None
    if len(encoded) > LONGEST_STATE:
        raise PluginResultInvalid(f"{path}: the state has {len(encoded)} bytes; at most {LONGEST_STATE} are allowed")
    if not isinstance(effects, list | tuple):
        raise PluginResultInvalid(f"{path} must return a list or tuple of effects, not {_kind(effects)}")
    if len(effects) > MOST_EFFECTS:
        raise PluginResultInvalid(f"{path} asks for {len(effects)} effects; at most {MOST_EFFECTS} are allowed")
    for position, effect in enumerate(effects):
        if problem := _problem(effect):
            raise PluginResultInvalid(f"{path}: effect {position} {problem}")
    # Return a decoded copy: it is exactly what was checked, and the plugin holds no reference to it.
    return msgspec.json.decode(encoded, type=dict), tuple(effects)


def _problem(effect: object) -> str | None:
    if isinstance(effect, Reply):
        if not isinstance(effect.message, Outgoing):
            return f"is a Reply of {_kind(effect.message)}; give it a message from waypost.cloudapi.messages"
        return None
    if isinstance(effect, OptOut | OptIn):
        optional: object = effect.confirmation
    elif isinstance(effect, HandOff):
        optional = effect.reply
        minutes: object = effect.minutes
        if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int) or minutes < 1):
            return "is a HandOff whose minutes are not a whole number of at least 1"
    else:
        return f"is {_kind(effect)}; use Reply, OptOut, OptIn or HandOff"
    if optional is not None and not isinstance(optional, Outgoing):
        return f"has {_kind(optional)} where a message from waypost.cloudapi.messages or None is expected"
    return None


def _kind(value: object) -> str:
    return type(value).__name__
