"""Bots decide how to answer a message.

A bot is a script written in YAML or a function written in Python. Both kinds are pure.
"""

from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.engine import turn
from waypost.bot.event import BotEvent
from waypost.bot.script import Script, ScriptError
from waypost.bot.state import State

__all__ = ["BotEvent", "Effect", "HandOff", "OptIn", "OptOut", "Reply", "Script", "ScriptError", "State", "turn"]
