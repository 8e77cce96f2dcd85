"""What a turn asks for. The worker stores each as rows in the transaction that stores the new state."""

from dataclasses import dataclass, field

from waypost.cloudapi.messages import Outgoing


@dataclass(frozen=True, slots=True)
class Reply:
    """Send `message` to the contact of this conversation."""

    message: Outgoing = field(repr=False)


@dataclass(frozen=True, slots=True)
class OptOut:
    """The contact wants no more messages. `confirmation` is the one notice that may still go out."""

    confirmation: Outgoing | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OptIn:
    """The contact wants messages again; comes before whatever else the turn sends."""

    confirmation: Outgoing | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HandOff:
    """A person takes over: the bot is silent for `minutes` (None: until told). `reply` says so to the contact.

    It is the last effect of its turn; a `Reply` before it was said by the bot and is still to be sent.
    """

    minutes: int | None = None
    reply: Outgoing | None = field(default=None, repr=False)


Effect = Reply | OptOut | OptIn | HandOff
