"""Effects are the actions that a turn asks for.

The worker stores them as rows, in the transaction that stores the new state.
"""

from dataclasses import dataclass, field

from waypost.cloudapi.messages import Outgoing


@dataclass(frozen=True, slots=True)
class Reply:
    """Sends `message` to the contact of this conversation."""

    message: Outgoing = field(repr=False)


@dataclass(frozen=True, slots=True)
class OptOut:
    """Records that the contact wants no more messages. `confirmation` is the only message that may still be sent."""

    confirmation: Outgoing | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OptIn:
    """Records that the contact wants messages again. This effect comes before all other effects of the turn."""

    confirmation: Outgoing | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HandOff:
    """Hands the conversation to a person. The bot is then silent for `minutes`.

    If `minutes` is None, the bot is silent until a person ends the handover. `reply` announces the handover to
    the contact. A HandOff is the last effect of its turn. Replies that precede it are still sent.
    """

    minutes: int | None = None
    reply: Outgoing | None = field(default=None, repr=False)


Effect = Reply | OptOut | OptIn | HandOff
