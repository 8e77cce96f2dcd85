"""A bot for the ledger. It repeats each message, so that every reply shows which message it answers."""

import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from waypost.bot.effects import Effect, Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi.messages import Text


def turn(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
    """Replies with the text of the message. For a few texts it waits, raises, hangs or crashes instead."""
    text = event.text or ""
    if text == "raise":
        raise ValueError("a text that must not be logged")
    if text == "hang":
        while True:
            pass
    if text == "crash":
        os._exit(1)
    if text == "segfault":
        ctypes.string_at(0)
    if text == "memory":
        return {"hoard": bytearray(1 << 34)}, []
    if text.startswith("wait for "):
        while not Path(text.removeprefix("wait for ")).exists():
            time.sleep(0.02)
    return {"turns": state.get("turns", 0) + 1}, [Reply(Text(text))]
