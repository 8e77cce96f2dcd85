"""Loading a script reports each mistake with its line, its key and advice on how to correct it."""

import contextlib
import json
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.bot.script import ScriptError, load

INTENT = "intents: {a: {keywords: [a], start: d}}"
PLAIN = "intents: {a: {keywords: [a], reply: A}}"


def problem(text: str) -> str:
    with pytest.raises(ScriptError) as refused:
        load(dedent(text).lstrip("\n"))
    return str(refused.value)


def reply(text: str) -> str:
    """Returns a script whose only reply is `text` (flow style). The reply is on line 2."""
    return f"version: 1\nintents: {{a: {{keywords: [a], reply: {text}}}}}\n"


def steps(text: str) -> str:
    """Returns a script whose only dialog has the given steps (flow style). The dialog is on line 3."""
    return f"version: 1\n{INTENT}\ndialogs: {{d: {{steps: {text}}}}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the script is empty; it needs at least `version: 1` and `intents:`"),
        ("# nothing\n", "the script is empty"),
        ("a: [", "not valid YAML (did not find"),
        ("a: 1\nb: [1,\n  2\nc: 3\n", "line 4: not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("\ud800", "not valid Unicode text; save it as UTF-8"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("x" * 300_000, "has 300000 bytes; at most 262144 are allowed"),
        ("version: 1\nintents: &x {a: *x}\n", "line 2: aliases (*name) are not allowed; write the value out"),
        ("[" * 20 + "]" * 20, "line 1: nested deeper than 16 levels; flatten it"),
        ("hello", "line 1, the script: must be a mapping (key: value)"),
        ("{[a]: 1}", "line 1, the script: a key must be a plain word; a text that begins with {{ needs quotes"),
        ("intents: {a: {keywords: a, reply: A}}", "line 1, the script: 'version' is missing; add it"),
        ("version: 1", "line 1, the script: 'intents' is missing; add it"),
        (f"version: 2\n{PLAIN}", "line 1, version: must be 1, the only version"),
        (f"version: 1\n{PLAIN}\nfalback: Hm?", "line 3, falback: unknown key; did you mean 'fallback'?"),
        (f"version: 1\n{PLAIN}\nxyzzy: 1", "line 3, xyzzy: unknown key; known keys: cancel, consent, dialogs"),
        (f"version: 1\n{PLAIN}\n{PLAIN}", "line 3, intents: is given twice; keep one"),
        (
            f"version: 1\n{PLAIN}\ntime_zone: Rome",
            "line 3, time_zone: is not a time zone; use a name such as Europe/Rome",
        ),
        ("version: 1\nintents: {}", "line 2, intents: is empty; add at least one intent"),
        (
            "version: 1\nintents: {Ab: {keywords: a, reply: A}}",
            "line 2, intents.Ab: is not a valid intent name; use at most 64",
        ),
    ],
)
def test_a_text_that_is_not_a_script_is_refused(text: str, expected: str) -> None:
    """A text that is not a script is refused.

    Examples are bytes that are not YAML, and YAML with keys that do not exist.
    """
    assert expected in problem(text)


@pytest.mark.parametrize(
    ("intents", "expected"),
    [
        ("{a: {reply: A}}", "intents.a: never matches a message; add at least one of keywords, regex, buttons, types"),
        ("{a: {keywords: [a]}}", "intents.a: does nothing; add one of hand_off, opt_in, opt_out, reply, start"),
        ("{a: {keywords: [], reply: A}}", "intents.a.keywords: is empty; add at least one keyword"),
        ("{a: {keywords: ['?!'], reply: A}}", "intents.a.keywords[0]: contains no word that can be matched"),
        ("{a: {keywords: [{x: y}], reply: A}}", "intents.a.keywords[0]: must be a text"),
        ("{a: {keywords: , reply: A}}", "intents.a.keywords: is empty; add a text or remove the key"),
        (
            "{a: {keywords: [Hi], reply: A}, b: {keywords: [ok, 'HI!'], reply: B}}",
            "intents.b.keywords[1]: already belongs to intent 'a', which would always win; keep one",
        ),
        (
            "{a: {buttons: [x], reply: A}, b: {buttons: [x], reply: B}}",
            "intents.b.buttons[0]: already belongs to intent 'a'",
        ),
        ("{a: {regex: '(', reply: A}}", "intents.a.regex: the pattern is not valid (missing ): (); look-around"),
        (
            "{a: {types: [Image!], reply: A}}",
            "intents.a.types[0]: is not a message type; use lower-case words such as image",
        ),
        ("{a: {keywords: a, anytime: maybe, reply: A}}", "intents.a.anytime: must be true or false"),
        (
            "{a: {keywords: a, start: b, hand_off: true}}",
            "intents.a.start: cannot be combined with 'hand_off'; keep one",
        ),
        (
            "{a: {keywords: a, reply: A, hand_off: true}}",
            "a.reply: cannot be combined with hand_off; write it as hand_off: {",
        ),
        ("{a: {keywords: a, hand_off: false}}", "intents.a.hand_off: must be true or {minutes: …, reply: …}"),
        ("{a: {keywords: a, hand_off: {minutes: 0}}}", "a.hand_off.minutes: must be a whole number from 1 to 43200"),
        ("{a: {keywords: a, hand_off: {minutes: soon}}}", "a.hand_off.minutes: must be a number"),
        ("{a: {keywords: a, hand_off: {minutes: 1e999999}}}", "must be a finite number of ordinary size"),
        ("{a: {keywords: a, hand_off: {minutes: .nan}}}", "must be a number"),
        (
            "{a: {keywords: a, hand_off: {reply: [A, B]}}}",
            "a.hand_off.reply: must be one message; the bot is silent after",
        ),
        ("{a: {keywords: a, opt_out: false}}", "intents.a.opt_out: must be true, or left out"),
        (
            "{a: {keywords: a, opt_out: true, reply: [A, B]}}",
            "intents.a.reply: must be one message when combined with opt_out",
        ),
        ("{a: {keywords: a, start: order}}", "intents.a.start: dialog 'order' does not exist; dialogs are: none"),
    ],
)
def test_a_mistake_in_an_intent_is_reported(intents: str, expected: str) -> None:
    """A mistake in an intent is reported. The error names the line, the intent and the key."""
    message = problem(f"version: 1\nintents: {intents}\n")
    assert message.startswith("line 2, ")
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("''", "intents.a.reply: is empty; add a text or remove the key"),
        ("[]", "intents.a.reply: is empty; add at least one message or remove the key"),
        ("[A, B, C, D, E, F]", "intents.a.reply: has 6 entries; at most 5 are allowed"),
        ("x" * 4097, "intents.a.reply: has 4097 characters; at most 4096 are allowed"),
        (
            "'{{name}}'",
            "{{name}} is not a placeholder; use one of: profile_name, message, now.date, now.time, slot.NAME",
        ),
        ("'{{slot.x}}!'", "{{slot.x}} names an answer that no step stores; stored answers: none"),
        ("'{{profile_name}}'", "may be empty when it is sent; add words or a default: {{profile_name|friend}}"),
        ("{}", "intents.a.reply: give exactly one of text, image, video"),
        ("{text: A, image: 'https://x.example/a.png'}", "intents.a.reply: give exactly one of"),
        ("{text: A, txet: B}", "intents.a.reply.txet: unknown key; did you mean 'text'?"),
        ("{text: A, caption: B}", "intents.a.reply.caption: cannot be used with 'text'; remove it"),
        ("{text: A, header: B}", "intents.a.reply.header: needs buttons, list or link as well"),
        ("{text: A, preview: true, buttons: {a: A}}", "reply.preview: cannot be used with 'buttons'; remove it"),
        ("{text: A, buttons: {a: A}, link: {}}", "reply.link: cannot be combined with 'buttons'; send two messages"),
        ("{text: A, buttons: {}}", "reply.buttons: is empty; add at least one button"),
        ("{text: A, buttons: {a: A, b: B, c: C, d: D}}", "reply.buttons: has 4 entries; at most 3 are allowed"),
        (
            "{text: A, buttons: {a: 'twenty-one characters'}}",
            "reply.buttons.a: has 21 characters; at most 20 are allowed",
        ),
        (
            "{text: A, buttons: {a: 'Hi {{profile_name}}'}}",
            "reply.buttons.a: a title cannot contain placeholders; write it",
        ),
        ("{text: A, buttons: {a: A, b: A}}", "Meta would refuse this message: button titles must be unique"),
        ("{text: " + "x" * 1025 + ", buttons: {a: A}}", "reply.text: has 1025 characters; at most 1024 are allowed"),
        (
            "{text: A, footer: " + "x" * 61 + ", buttons: {a: A}}",
            "reply.footer: has 61 characters; at most 60 are allowed",
        ),
        ("{text: A, list: {rows: {a: A}}}", "reply.list: 'button' is missing; add it"),
        ("{text: A, list: {button: B}}", "reply.list: give either rows or sections"),
        ("{text: A, list: {button: B, rows: {a: {description: D}}}}", "reply.list.rows.a: 'title' is missing; add it"),
        (
            "{text: A, list: {button: B, rows: {a: " + "x" * 25 + "}}}",
            "rows.a: has 25 characters; at most 24 are allowed",
        ),
        (
            "{text: A, list: {button: B, sections: [{title: S, rows: {a: A}}, {title: T, rows: {a: B}}]}}",
            "sections[1].rows.a: is already the id of another row of this list; choose another id",
        ),
        (
            "{text: A, list: {button: B, rows: {" + ", ".join(f"r{n}: R{n}" for n in range(11)) + "}}}",
            "reply.list.rows: has 11 entries; at most 10 are allowed",
        ),
        ("{text: A, link: {title: T, url: 'ftp://x'}}", "Meta would refuse this message: url must be an address"),
        (
            "{text: A, link: {title: T, url: '{{message}}'}}",
            "link.url: must begin with https:// and a host; placeholders",
        ),
        ("{text: A, link: {title: T, url: 'https://{{message}}/'}}", "link.url: must begin with https:// and a host"),
        (
            "{text: A, link: {title: T, url: 'https://x.example/{{message}}{{message}}'}}",
            "link.url: could become longer than 2,000 characters",
        ),
        ("{image: not a link}", "Meta would refuse this message: media link must be an address"),
        (
            "{sticker: 'https://x.example/a.webp', caption: B}",
            "reply.caption: cannot be used with 'sticker'; remove it",
        ),
        ("{location: {latitude: 1}}", "reply.location: 'longitude' is missing; add it"),
        (
            "{location: {latitude: 91, longitude: 0}}",
            "Meta would refuse this message: latitude must be a number of degrees",
        ),
        ("{template: {name: Bad Name, language: en}}", "Meta would refuse this message: template name must be"),
        ("{template: {name: news}}", "reply.template: 'language' is missing; add it"),
        (
            "{template: {name: news, language: en, parameters: ['{{message}}']}}",
            "parameters[0]: may be empty when it is sent",
        ),
        (
            "{text: A, buttons: {nowhere: Go}}",
            "nothing happens when 'nowhere' is pressed; add it to the `buttons` of an",
        ),
    ],
)
def test_a_message_that_meta_would_refuse_is_refused_at_once(text: str, expected: str) -> None:
    """A message that Meta would refuse is refused when the script is loaded, not when a customer waits."""
    message = problem(reply(text))
    assert message.startswith("line 2, ")
    assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "dialogs.d.steps: is empty; add at least one step"),
        ("{q: {}}", "steps.q: is empty; add at least one key"),
        ("{q: {next: end}}", "steps.q: give exactly one of ask, confirm, say, hand_off"),
        ("{q: {ask: A, say: B}}", "steps.q: give exactly one of ask, confirm, say, hand_off"),
        ("{q: {say: A, expect: any}}", "steps.q.expect: cannot be used with 'say'; remove it"),
        ("{q: {hand_off: true, next: end}}", "steps.q.next: cannot be used with 'hand_off'; remove it"),
        ("{q: {ask: A, store: Bad Name}}", "steps.q.store: is not a valid name for an answer; use lower-case letters"),
        ("{q: {ask: A, expect: many}}", "steps.q.expect: must be one of: any, number"),
        ("{q: {ask: A, expect: {}}}", "steps.q.expect: give exactly one of regex, number, choice, types"),
        ("{q: {ask: A, expect: {regex: '['}}}", "steps.q.expect.regex: the pattern is not valid (missing ]"),
        (
            "{q: {ask: A, expect: {number: {min: 2, max: 1}}}}",
            "number.max: is below min, so no number is accepted; raise it",
        ),
        (
            "{q: {ask: A, expect: {choice: {a: [x], b: [X]}}}}",
            "choice.b[0]: already means 'a'; a word can mean one",
        ),
        ("{q: {ask: A, expect: {choice: {a: ['!']}}}}", "choice.a[0]: contains no word"),
        (
            "{q: {ask: {text: A, buttons: {a: A, b: B}}, expect: {choice: {a: [x]}}}}",
            "expect.choice: does not list 'b', which the question shows as a button or row; add it here",
        ),
        ("{q: {ask: A, max_tries: 0}}", "steps.q.max_tries: must be a whole number from 1 to 20"),
        ("{q: {ask: A, give_up: {start: d}}}", "steps.q.give_up.start: unknown key"),
        ("{q: {ask: A, next: elsewhere}}", "steps.q.next: step 'elsewhere' does not exist; use one of: q, end"),
        ("{q: {ask: A, next: [{go: nowhere}]}}", "steps.q.next[0].go: step 'nowhere' does not exist"),
        ("{q: {ask: A, next: [{when: {x: 1}}]}}", "steps.q.next[0]: 'go' is missing; add it"),
        (
            "{q: {ask: A, next: [{go: end}, {go: q}]}}",
            "steps.q.next[0]: has no `when`, so the rules below it are never",
        ),
        ("{q: {ask: A, next: [{when: {x: 1}, go: q}]}}", "next[0].when.x: no step stores 'x'; stored answers: none"),
        ("{q: {ask: A, store: x, next: [{when: {x: {}}, go: q}]}}", "next[0].when.x: give above, below or both"),
        ("{q: {ask: A, next: {a: q}}}", "steps.q.next: maps answers to steps, which needs a question"),
        (
            "{q: {ask: {text: A, buttons: {a: A}}, next: {b: q}}}",
            "steps.q.next.b: is not an answer of this step; its answers are: a",
        ),
        ("{q: {confirm: A, yes: nowhere}}", "steps.q.yes: step 'nowhere' does not exist; use one of: q, end"),
        ("{q: {confirm: A, no_title: " + "x" * 21 + "}}", "steps.q.no_title: has 21 characters; at most 20"),
        ("{end: {ask: A}}", "steps.end: 'end' is reserved for the end of the dialog; give the step another name"),
        (
            "{q: {ask: A, next: end}, r: {ask: B}}",
            "steps.r: no step leads here; add a `next` that names it or remove it",
        ),
        ("{q: {ask: A}, s: {say: B, next: t}, t: {say: C, next: s}}", "leads back to itself without asking anything"),
        ("{s: {say: B, next: s}}", "steps.s: leads back to itself without asking anything; add a question in between"),
    ],
)
def test_a_mistake_in_a_dialog_is_reported(text: str, expected: str) -> None:
    """A mistake in a dialog is reported. The error names the line, the step and the key."""
    message = problem(steps(text))
    assert message.startswith("line 3, ")
    assert expected in message


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (
            "dialogs: {d: {steps: {q: {ask: A}}}}",
            "line 3, dialogs.d: no intent starts this dialog; add `start: d` to one",
        ),
        ("dialogs: {d: {}}", "line 3, dialogs.d: 'steps' is missing; add it"),
        (
            "dialogs: {d: {steps: {q: {ask: A}}, timeout_minutes: 2000}}",
            "timeout_minutes: must be a whole number from 1",
        ),
        ("fallback: {reply: A, hand_off_after: 2}", "line 3, fallback.hand_off_after: needs hand_off as well"),
        ("fallback: {reply: A, hand_of: true}", "line 3, fallback.hand_of: unknown key; did you mean 'hand_off'?"),
        ("consent: {stop: {reply: [A, B]}}", "line 3, consent.stop.reply: must be one message; only one notice"),
        ("consent: {stop: {words: ['!']}}", "line 3, consent.stop.words[0]: contains no word that can be matched"),
        ("consent: {stop: {words: [x]}, start: {words: [X]}}", "line 3, consent: 'x' means both stop and start"),
        ("cancel: {words: []}", "line 3, cancel.words: is empty; add at least one word"),
        ("phrases: {sorry: A}", "line 3, phrases.sorry: unknown key; known keys: not_understood, restarted"),
    ],
)
def test_a_mistake_elsewhere_is_reported(rest: str, expected: str) -> None:
    """Mistakes in the optional sections of a script are reported too."""
    assert expected in problem(f"version: 1\n{PLAIN}\n{rest}\n")


@pytest.mark.parametrize("word", ["no", "yes", "1.10", "12:30", "007", "null", "on"])
def test_yaml_words_stay_as_written(talk: Callable[..., Any], word: str) -> None:
    """YAML words such as `no` and `null` are plain words in a script. As a reply, `off` is a text, not a switch."""
    conversation = talk(f"version: 1\nintents: {{a: {{keywords: [{word}], reply: off}}}}\n")
    assert conversation.say(word) == ["off"]


@given(st.text(max_size=400))
def test_any_text_is_loaded_or_refused_with_a_script_error(text: str) -> None:
    """Any text is either loaded or refused with a `ScriptError`. `load` raises no other error."""
    with contextlib.suppress(ScriptError):
        load(text)


KEYS = """text buttons list rows button ask say expect choice next when go reply keywords start hand_off steps d q store
confirm give_up number template"""

_values = st.recursive(
    st.sampled_from(["a", "text", "1", "true", "end", "q", "{{message}} x", "https://x.example/", "any", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"intents": _values, "dialogs": _values, "fallback": _values, "consent": _values}))
def test_any_shape_is_loaded_or_refused_with_a_script_error(shape: dict[str, object]) -> None:
    """A script with known keys in the wrong places is either loaded or refused with a `ScriptError`."""
    with contextlib.suppress(ScriptError):
        load(json.dumps({"version": 1, **shape}))
