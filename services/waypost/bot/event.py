"""Defines the event that a bot receives. The event is the bot's view of one incoming message."""

import re
from dataclasses import dataclass, field

_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class BotEvent:
    """One message of a contact. Texts and names are left out of `repr`, which may end up in logs.

    `type` is Meta's message type (`text`, `image`, `interactive`, `button`, `reaction` …). `text` is the part
    that a person would read (body, caption, button title). `button_id` is the id of a pressed button or list row.
    `occurred_at` is the time that Meta gives for the message, or 0 if Meta gave none. `now` is the time of the
    turn. Both times are in unix seconds.
    """

    type: str
    text: str | None = field(default=None, repr=False)
    button_id: str | None = field(default=None, repr=False)
    profile_name: str | None = field(default=None, repr=False)
    wamid: str = field(default="", repr=False)
    occurred_at: float = 0.0
    now: float = 0.0


def readable(text: str) -> str:
    """Makes `text` valid for a message and for PostgreSQL. Control characters and lone surrogates become U+FFFD."""
    return text if text.isprintable() else _UNREADABLE.sub("\ufffd", text.replace("\r\n", "\n"))
