"""What a worker reports on its probe port about the bots of numbers, and the operator reads there.

The operator has no database, so it learns only here whether bots answer. During an upgrade both may have different
versions: a reader ignores unknown fields, and a field that was added later has a default.
"""

from typing import Final

import msgspec

BOTS_PATH: Final = "/bots"

FAILURES: Final = 5
"""A bot whose turns have failed this often in a row, whatever the messages were, is reported as failing."""

FIRST_FAILURES: Final = 3
"""The same for a bot that has not answered yet: these are all attempts of its first message."""


class BotState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one worker has seen of the bot of one number since the worker started or the bot changed.

    It names no contact and holds no text of a message. Times are in seconds since 1970.
    """

    namespace: str
    name: str
    healthy: bool | None
    """None while too few turns have failed to blame the bot."""
    reason: str
    """A reason of the condition `BotHealthy`."""
    since: float
    """When the worker first saw the bot as it is now: answering, or failing."""
    answered_at: float | None = None
    """When a turn succeeded last."""
    failed_at: float | None = None
    """When a turn failed last."""
    failures: int = 0
    """How many turns have failed in a row."""
    error: str = ""
    """Class of the error at which the bot began to fail."""
    where: str = ""
    """Where that was: module, line and function of the bot's own code, or what is wrong with a script."""


class BotStates(msgspec.Struct, frozen=True, kw_only=True):
    """The document at `BOTS_PATH`. It has the numbers whose bot the worker has tried."""

    bots: tuple[BotState, ...]
