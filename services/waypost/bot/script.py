"""Compiles a bot script: reads YAML and returns a checked `Script`. docs/bot.md is the guide for authors.

Every mistake that can be detected is refused here. So no turn has to handle such a mistake.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo

from waypost.bot import actions, consent, dialogs, document, intents, placeholders, replies
from waypost.bot.actions import Action, Handover
from waypost.bot.answers import MultipleChoice
from waypost.bot.dialogs import Dialog
from waypost.bot.document import Node, ScriptError
from waypost.bot.event import BotEvent
from waypost.bot.intents import Intent, Matcher
from waypost.bot.patterns import MOST_INSTRUCTIONS, MOST_INSTRUCTIONS_OF_ANSWERS, PatternBudget
from waypost.bot.replies import Names, ScriptedReply
from waypost.bot.words import phrase, words
from waypost.cloudapi.message_types import MessageType

__all__ = ["Fallback", "Script", "ScriptError", "load"]

LANGUAGE_VERSION = "1"

_CANCEL_WORDS = (
    *("cancel", "abort", "quit", "exit", "never mind", "nevermind", "annulla", "esci", "cancelar", "salir", "sair"),
    *(
        "annuler",
        "quitter",
        "abbrechen",
        "abbruch",
        "annuleren",
        "anuluj",
        "отмена",
        "iptal",
        "batal",
        "إلغاء",
        "ביטול",
        "取消",
    ),
)
_STOP_REPLY = "You will get no more messages from us. Send START if you want to hear from us again."
_START_REPLY = "Welcome back. Send STOP at any time to get no more messages."
_CANCEL_REPLY = "All right, never mind."
_RESTARTED = "Sorry, something changed on our side. Let us start that again."
_NOT_UNDERSTOOD = "Sorry, I did not understand that."
_MOST_WORDS = 100
_MOST_SEARCHED = 1_000_000
"""The most instructions of patterns times titles of buttons that are tried on them when a script is loaded."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """The reply to a message that no intent matches.

    After `hand_off_after` such messages in a row, the conversation is handed to a person.
    """

    reply: ScriptedReply
    handover: Handover | None
    hand_off_after: int


@dataclass(frozen=True, slots=True)
class Script:
    """A compiled script. `load` creates it and `engine.turn` runs it."""

    everything: Matcher
    anytime: Matcher
    dialogs: Mapping[str, Dialog]
    slots: frozenset[str]
    titles: Mapping[str, Mapping[str, str]]
    buttons: frozenset[str]
    fallback: Fallback | None
    zone: tzinfo
    stop_words: frozenset[str]
    start_words: frozenset[str]
    stop_reply: ScriptedReply
    start_reply: ScriptedReply
    cancel_words: frozenset[str]
    cancel_reply: ScriptedReply
    restarted: ScriptedReply
    not_understood: ScriptedReply
    memory: int
    """An estimate of the most bytes that the script takes."""


def load(yaml_text: str) -> Script:
    """Reads a script, checks it and returns the compiled script.

    Raises `ScriptError`, whose message names the line and key, the mistake and the remedy.
    """
    root, nodes = document.read(yaml_text)
    fields = root.fields(
        {"version", "time_zone", "intents", "dialogs", "fallback", "consent", "cancel", "phrases"},
        required=("version", "intents"),
    )
    if fields["version"].text() != LANGUAGE_VERSION:
        fields["version"].fail(f"must be {LANGUAGE_VERSION}, the only version of the language so far")
    slots = dialogs.stored_slots(fields["dialogs"]) if "dialogs" in fields else frozenset()
    names = Names(slots)
    answer_patterns = PatternBudget("dialogs", MOST_INSTRUCTIONS_OF_ANSWERS)
    by_name = dialogs.read(fields["dialogs"], names, answer_patterns) if "dialogs" in fields else {}
    patterns = PatternBudget("intents", MOST_INSTRUCTIONS)
    found = intents.read(fields["intents"], names, patterns)
    _check_started_dialogs(fields, found, by_name)
    stop_words, stop_reply = _consent(fields.get("consent"), "stop", _STOP_REPLY, names)
    start_words, start_reply = _consent(fields.get("consent"), "start", _START_REPLY, names)
    if both := stop_words & start_words:
        fields["consent"].fail(f"{min(both)!r} means both stop and start; keep one")
    cancel_words, cancel_reply = _cancel(fields.get("cancel"), names)
    phrases = fields["phrases"].fields({"restarted", "not_understood"}) if "phrases" in fields else {}
    script = Script(
        everything=Matcher(found),
        anytime=Matcher([intent for intent in found if intent.anytime]),
        dialogs=by_name,
        slots=slots,
        titles=_titles(by_name),
        buttons=_buttons(found, by_name),
        fallback=_fallback(fields["fallback"], names) if "fallback" in fields else None,
        zone=_zone(fields["time_zone"]) if "time_zone" in fields else UTC,
        stop_words=stop_words,
        start_words=start_words,
        stop_reply=stop_reply,
        start_reply=start_reply,
        cancel_words=cancel_words,
        cancel_reply=cancel_reply,
        restarted=_phrase(phrases, "restarted", _RESTARTED, names),
        not_understood=_phrase(phrases, "not_understood", _NOT_UNDERSTOOD, names),
        memory=_memory(yaml_text, nodes, found) + patterns.memory + answer_patterns.memory,
    )
    _check_buttons(_replies(script, found), script.buttons, script.everything)
    return script


def _memory(yaml_text: str, nodes: int, found: list[Intent]) -> int:
    """Returns about how many bytes of memory a script takes without its patterns.

    The factors were measured with scripts of many kinds. One character of a keyword may become several words.
    """
    words_of_keywords = sum(len(keyword) for intent in found for keyword in intent.keywords)
    return 6 * len(yaml_text.encode()) + 250 * nodes + 90 * words_of_keywords


def _check_started_dialogs(fields: Mapping[str, Node], found: list[Intent], by_name: Mapping[str, Dialog]) -> None:
    nodes = fields["intents"].keyed("intent", most=len(found))
    started = set()
    for intent in found:
        if (target := intent.action.start) is not None:
            if target not in by_name:
                dialog_names = ", ".join(by_name) or "none"
                nodes[intent.name].keyed("key", most=50)["start"].fail(
                    f"dialog {target!r} does not exist; dialogs are: {dialog_names}"
                )
            started.add(target)
    for name in by_name:
        if name not in started:
            fields["dialogs"].keyed("dialog", most=len(by_name))[name].fail(
                f"no intent starts this dialog; add `start: {name}` to one or remove it"
            )


def _consent(node: Node | None, key: str, default: str, names: Names) -> tuple[frozenset[str], ScriptedReply]:
    section = node.fields({"stop", "start"}) if node is not None else {}
    if key not in section:
        return frozenset(), replies.fixed(default)
    fields = section[key].fields({"words", "reply"})
    reply = replies.read(fields["reply"], names) if "reply" in fields else replies.fixed(default)
    if len(reply) > 1:
        fields["reply"].fail("must be one message; only one notice is sent")
    return consent.phrases(_words(fields["words"])) if "words" in fields else frozenset(), reply


def _cancel(node: Node | None, names: Names) -> tuple[frozenset[str], ScriptedReply]:
    spoken: Iterable[str] = _CANCEL_WORDS
    reply = replies.fixed(_CANCEL_REPLY)
    if node is not None:
        fields = node.fields({"words", "reply"})
        if "words" in fields:
            spoken = _words(fields["words"])
        if "reply" in fields:
            reply = replies.read(fields["reply"], names)
    return frozenset(map(phrase, spoken)), reply


def _words(node: Node) -> list[str]:
    found = []
    for entry in node.items("word", most=_MOST_WORDS):
        said = entry.text(most=80)
        if not words(said):
            entry.fail("contains no word that can be matched; use letters, digits or an emoji")
        found.append(said)
    return found


def _fallback(node: Node, names: Names) -> Fallback:
    if not node.is_mapping or not {"reply", "hand_off", "hand_off_after"} & node.keyed("key", most=50).keys():
        return Fallback(replies.read(node, names), None, 0)
    fields = node.fields({"reply", "hand_off", "hand_off_after"})
    if "hand_off_after" in fields and "hand_off" not in fields:
        fields["hand_off_after"].fail("needs hand_off as well; add `hand_off: true`")
    return Fallback(
        reply=replies.read(fields["reply"], names) if "reply" in fields else (),
        handover=actions.handover(fields["hand_off"], names) if "hand_off" in fields else None,
        hand_off_after=fields["hand_off_after"].whole(1, 20) if "hand_off_after" in fields else 1,
    )


def _phrase(fields: Mapping[str, Node], key: str, default: str, names: Names) -> ScriptedReply:
    return replies.read(fields[key], names) if key in fields else replies.fixed(default)


def _zone(node: Node) -> tzinfo:
    try:
        return placeholders.zone(node.text(most=100))
    except LookupError:
        node.fail("is not a time zone; use a name such as Europe/Rome or UTC")


def _titles(by_name: Mapping[str, Dialog]) -> dict[str, dict[str, str]]:
    titles: dict[str, dict[str, str]] = {}
    for dialog in by_name.values():
        for step in dialog.steps.values():
            if step.store is not None and isinstance(step.expect, MultipleChoice):
                titles.setdefault(step.store, {}).update(step.expect.titles)
    return titles


def _buttons(found: list[Intent], by_name: Mapping[str, Dialog]) -> frozenset[str]:
    of_intents = {button for intent in found for button in intent.buttons}
    of_steps = {
        identity
        for dialog in by_name.values()
        for step in dialog.steps.values()
        if isinstance(step.expect, MultipleChoice)
        for identity in step.expect.titles
    }
    return frozenset(of_intents | of_steps)


def _check_buttons(scripted_replies: Iterable[ScriptedReply], buttons: frozenset[str], everything: Matcher) -> None:
    left, cost = _MOST_SEARCHED, everything.instructions
    for reply in scripted_replies:
        for message in reply:
            for identity, title in message.options.items():
                if identity in buttons or not message.place:
                    continue
                left -= cost
                if left < 0:
                    raise ScriptError(
                        f"{message.place}: too many buttons and rows are left to the patterns of intents; "
                        f"add {identity!r} and others to the `buttons` of an intent"
                    )
                if everything.by_content(BotEvent(MessageType.INTERACTIVE, text=title, button_id=identity)) is None:
                    raise ScriptError(
                        f"{message.place}: nothing happens when {identity!r} is pressed; add it to the `buttons` of an "
                        "intent"
                    )


def _replies(script: Script, found: list[Intent]) -> Iterator[ScriptedReply]:
    for intent in found:
        yield from _replies_of_action(intent.action)
    for dialog in script.dialogs.values():
        yield from (dialog.timed_out, dialog.done)
        for step in dialog.steps.values():
            # A question that takes any text also takes the titles of its own buttons, so only other steps are checked.
            if step.expect is None:
                yield step.say
            if step.handover is not None:
                yield step.handover.reply
            yield from _replies_of_action(step.retry_policy.give_up)
    if script.fallback is not None:
        yield script.fallback.reply
        if script.fallback.handover is not None:
            yield script.fallback.handover.reply
    yield from (script.stop_reply, script.start_reply, script.cancel_reply, script.restarted, script.not_understood)


def _replies_of_action(action: Action) -> Iterator[ScriptedReply]:
    yield action.reply
    if action.handover is not None:
        yield action.handover.reply
