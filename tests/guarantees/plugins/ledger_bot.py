"""A bot for the ledger: it repeats what it was told, so that every reply names the message it answers."""

import os

from waypost.bot.effects import Reply
from waypost.cloudapi.messages import Text


def turn(state, event):
    """Reply with the text; some texts are poison."""
    text = event.text or ""
    if text == "raise":
        raise ValueError("a text that must not be logged")
    if text == "hang":
        while True:
            pass
    if text == "crash":
        os._exit(1)
    return {"turns": state.get("turns", 0) + 1}, [Reply(Text(text))]
