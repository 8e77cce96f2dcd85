"""What the bot does once it knows what is wanted: say something, begin a dialog, call a person, note consent."""

from collections.abc import Mapping
from dataclasses import dataclass

from waypost.bot import replies
from waypost.bot.consent import Consent
from waypost.bot.document import Item
from waypost.bot.replies import Names, Reply

LONGEST_HAND_OFF_MINUTES = 30 * 24 * 60


@dataclass(frozen=True, slots=True)
class Handover:
    """A person takes over for `minutes` (None: until told); `reply` is at most one message."""

    minutes: int | None
    reply: Reply


@dataclass(frozen=True, slots=True)
class Action:
    """One of the things an intent, a missed answer or the fallback leads to; all of it may be empty."""

    reply: Reply = ()
    start: str | None = None
    handover: Handover | None = None
    consent: Consent | None = None


KEYS = frozenset({"reply", "start", "hand_off", "opt_out", "opt_in"})


def read(fields: Mapping[str, Item], names: Names, owner: Item) -> Action:
    """The action among `fields`, which belong to `owner`."""
    given = sorted(KEYS & fields.keys())
    if not given:
        owner.fail(f"does nothing; give one of {', '.join(sorted(KEYS))}")
    exclusive = [key for key in given if key != "reply"]
    if len(exclusive) > 1:
        fields[exclusive[1]].fail(f"cannot go together with {exclusive[0]!r}; keep one")
    reply = replies.read(fields["reply"], names) if "reply" in fields else ()
    if "hand_off" in fields:
        if reply:
            fields["reply"].fail("cannot stand beside hand_off; write it as hand_off: {reply: …}")
        return Action(handover=handover(fields["hand_off"], names))
    for key, consent in (("opt_out", Consent.STOP), ("opt_in", Consent.START)):
        if key in fields:
            if not fields[key].flag():
                fields[key].fail("must be true, or left out")
            if len(reply) > 1:
                fields["reply"].fail(f"must be one message beside {key}; it is the one notice that is sent")
            return Action(reply=reply, consent=consent)
    return Action(reply=reply, start=fields["start"].text() if "start" in fields else None)


def handover(item: Item, names: Names) -> Handover:
    """`hand_off: true` or `hand_off: {minutes: 60, reply: …}`."""
    if item.is_text:
        if not item.flag():
            item.fail("must be true or {minutes: …, reply: …}; leave it out for no hand-off")
        return Handover(None, ())
    fields = item.fields({"minutes", "reply"})
    reply = replies.read(fields["reply"], names) if "reply" in fields else ()
    if len(reply) > 1:
        fields["reply"].fail("must be one message; the bot is silent right after it")
    return Handover(
        minutes=fields["minutes"].whole(1, LONGEST_HAND_OFF_MINUTES) if "minutes" in fields else None,
        reply=reply,
    )
