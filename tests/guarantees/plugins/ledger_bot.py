"""A bot for the ledger: it repeats each message, so that every reply names the message that it answers."""

import os
from collections.abc import Sequence
from typing import Any

from waypost.bot.effects import Effect, Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi.messages import Text


def turn(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
    """Reply with the text; a few texts raise, hang or crash instead."""
    text = event.text or ""
    if text == "raise":
        raise ValueError("a text that must not be logged")
    if text == "hang":
        while True:
            pass
    if text == "crash":
        os._exit(1)
    return {"turns": state.get("turns", 0) + 1}, [Reply(Text(text))]
