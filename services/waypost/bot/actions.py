"""Actions are what a bot can do in answer to a contact: reply, start a dialog, hand off, or record consent."""

from collections.abc import Mapping
from dataclasses import dataclass

from waypost.bot import replies
from waypost.bot.consent import Consent
from waypost.bot.document import Node
from waypost.bot.replies import Names, ScriptedReply

LONGEST_HAND_OFF_MINUTES = 30 * 24 * 60


@dataclass(frozen=True, slots=True)
class Handover:
    """Hands the conversation to a person for `minutes`.

    If `minutes` is None, the handover lasts until a person ends it. `reply` has at most one message.
    """

    minutes: int | None
    reply: ScriptedReply


@dataclass(frozen=True, slots=True)
class Action:
    """Describes how the bot reacts to an intent, a missed answer or a message for the fallback.

    Every field may be empty.
    """

    reply: ScriptedReply = ()
    start: str | None = None
    handover: Handover | None = None
    consent: Consent | None = None


KEYS = frozenset({"reply", "start", "hand_off", "opt_out", "opt_in"})


def read(fields: Mapping[str, Node], names: Names, owner: Node) -> Action:
    """Returns the action that `fields` describe. `owner` is the node of the script that contains them."""
    given = sorted(KEYS & fields.keys())
    if not given:
        owner.fail(f"does nothing; add one of {', '.join(sorted(KEYS))}")
    exclusive = [key for key in given if key != "reply"]
    if len(exclusive) > 1:
        fields[exclusive[1]].fail(f"cannot be combined with {exclusive[0]!r}; keep one")
    reply = replies.read(fields["reply"], names) if "reply" in fields else ()
    if "hand_off" in fields:
        if reply:
            fields["reply"].fail("cannot be combined with hand_off; write it as hand_off: {reply: …}")
        return Action(handover=handover(fields["hand_off"], names))
    for key, consent in (("opt_out", Consent.STOP), ("opt_in", Consent.START)):
        if key in fields:
            if not fields[key].flag():
                fields[key].fail("must be true, or left out")
            if len(reply) > 1:
                fields["reply"].fail(f"must be one message when combined with {key}; only one notice is sent")
            return Action(reply=reply, consent=consent)
    return Action(reply=reply, start=fields["start"].text() if "start" in fields else None)


def handover(node: Node, names: Names) -> Handover:
    """Reads a handover from the script: `hand_off: true` or `hand_off: {minutes: 60, reply: …}`."""
    if node.is_text:
        if not node.flag():
            node.fail("must be true or {minutes: …, reply: …}; remove it if no hand-off is wanted")
        return Handover(None, ())
    fields = node.fields({"minutes", "reply"})
    reply = replies.read(fields["reply"], names) if "reply" in fields else ()
    if len(reply) > 1:
        fields["reply"].fail("must be one message; the bot is silent after it")
    return Handover(
        minutes=fields["minutes"].whole(1, LONGEST_HAND_OFF_MINUTES) if "minutes" in fields else None,
        reply=reply,
    )
