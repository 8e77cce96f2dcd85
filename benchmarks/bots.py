"""The bots of the benchmarks, as scripts. The benchmarks measure the way to a bot and back, not the bot."""

from typing import Final

SILENT: Final = """
version: 1
intents:
  never: {buttons: [never], reply: never}
"""
"""A script that answers no message."""

ANSWERING: Final = """
version: 1
intents:
  never: {buttons: [never], reply: never}
fallback: Thank you, we have got your message.
"""
"""A script that answers each message with the same text. It counts the messages in its state."""
