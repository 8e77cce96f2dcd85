"""`turn` never raises, is deterministic, and has results that are easy to store.

This is true for all events that a stranger can send and all states that the database can contain.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml
from hypothesis import given
from hypothesis import strategies as st

from waypost.bot import BotEvent, HandOff, OptIn, OptOut, Reply, engine, script

EXAMPLES = Path(__file__).parents[2] / "examples"
SUPPORT = yaml.safe_load((EXAMPLES / "support-bot.yaml").read_text())["data"]["bot.yaml"]
EVERYTHING = """
version: 1
time_zone: Pacific/Kiritimati
intents:
  a:
    keywords: [a, start, "🙂", 你]
    regex: ["^q", "[0-9]{3}"]
    types: [image]
    anytime: true
    reply:
      - "{{message|m}}{{profile_name|p}}{{slot.n}}{{slot.c}}{{now.date}}{{now.time}}"
      - {text: "{{message}}.", header: "{{message}}.", footer: "{{profile_name}}.", buttons: {a: A, d: D}}
      - {text: "{{slot.t|t}}", list: {button: B, rows: {e: E, f: F}}}
      - {text: A, link: {title: T, url: "https://x.example/{{message}}"}}
      - {template: {name: t, language: en, parameters: ["{{message|m}}", "{{slot.n|n}}"]}}
  d: {keywords: [d], buttons: [d], start: d}
  e: {buttons: [e], opt_out: true, reply: "{{message|m}}"}
  f: {buttons: [f], opt_in: true}
  h: {keywords: h, anytime: true, hand_off: {reply: "{{message|m}}"}}
  i: {types: [image, caption_only], reply: {image: "https://x.example/i", caption: "{{message|m}}"}}
dialogs:
  d:
    timed_out: "Late {{message}}"
    steps:
      n: {ask: "N {{message}}", expect: number, store: n, next: [{when: {n: {above: 10, below: 20}}, go: c}]}
      t: {ask: T, store: t, max_tries: 1, give_up: {hand_off: true}}
      c: {ask: {text: C, buttons: {x: X, y: Y}}, store: c, next: {y: p}}
      s: {say: "S {{slot.c|c}}"}
      k: {confirm: "K {{slot.n|n}} {{slot.t|t}}", no: n}
      p: {ask: P, expect: {types: [image, audio]}, store: t}
      r: {ask: R, expect: {regex: "[a-z]+"}, store: t, next: h}
      h: {hand_off: {minutes: 1, reply: "H {{message|m}}"}}
    done: "Done {{slot.t|t}}"
consent: {stop: {words: [halt], reply: "{{message|m}}"}, start: {words: [go], reply: "{{profile_name|p}}"}}
fallback: {reply: "F {{message}}", hand_off_after: 2, hand_off: {reply: "{{message|m}}"}}
"""
SCRIPTS = [script.load(SUPPORT), script.load(EVERYTHING)]

SAID = "a d h x y 12 15 abc yes no stop start halt go cancel order a-12345 broken menu image late 🙂 {{message}}"

_words = st.sampled_from([*SAID.split(), " ", "\x00", "\ud800", "\u200d", "9" * 40, "w " * 3000])
_text = st.none() | _words | st.text(max_size=50) | st.text(alphabet=st.characters(), max_size=50)
_button = (
    st.none()
    | st.sampled_from(["a", "d", "e", "f", "x", "y", "yes", "no", "order", "person", "old"])
    | st.text(max_size=5)
)
_time = st.floats() | st.sampled_from([0.0, 1e9, 253_402_300_799.0, -1.0]) | st.floats(0, 4e9)
_event = st.builds(
    BotEvent,
    type=st.sampled_from(["text", "image", "interactive", "button", "reaction", "audio", "of next year", ""]),
    text=_text,
    button_id=_button,
    profile_name=_text,
    occurred_at=_time,
    now=_time,
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_slots = st.dictionaries(st.sampled_from(["n", "t", "c", "order_number", "problem", "gone"]), _text | _json, max_size=4)
_state = st.dictionaries(st.text(max_size=5), _json, max_size=3) | st.fixed_dictionaries(
    {
        "v": st.sampled_from([1, 1, 1, 2, "1"]),
        "dialog": st.sampled_from(["d", "order_problem", "gone"]) | _json,
        "step": st.sampled_from([*"ntcskprh", "number", "kind", "photo", "check", "gone"]) | _json,
        "asked_at": _time | _json,
    },
    optional={"tries": st.integers(0, 5) | _json, "slots": _slots | _json, "missed": _json, "opted_out": _json},
)
_script = st.sampled_from(SCRIPTS)


@given(_script, _state, _event)
def test_no_state_and_no_event_makes_a_turn_raise(
    loaded: script.Script, state: dict[str, Any], event: BotEvent
) -> None:
    """`turn` never raises for any state and any event. Its results can be stored and sent.

    The state is JSON in UTF-8. The messages are within Meta's limits. A hand-off is the last effect.
    """
    new_state, effects = engine.turn(loaded, state, event)
    json.dumps(new_state, allow_nan=False).encode()
    msgspec.json.encode(new_state)
    assert "\\u0000" not in json.dumps(new_state)
    for effect in effects:
        assert isinstance(effect, Reply | OptOut | OptIn | HandOff)
        message = effect.message if isinstance(effect, Reply) else getattr(effect, "confirmation", None)
        if message is not None:
            msgspec.json.encode(message.payload())
    assert not any(isinstance(effect, HandOff) for effect in effects[:-1])


@given(_script, st.lists(_event, max_size=12))
def test_no_conversation_makes_a_turn_raise(loaded: script.Script, events: list[BotEvent]) -> None:
    """`turn` never raises for any events of a conversation. The states that it returns stay small."""
    state: dict[str, Any] = {}
    for event in events:
        state, _ = engine.turn(loaded, state, event)
    assert len(json.dumps(state)) < 64 * 1024


@given(_script, _state, _event)
def test_the_same_turn_twice_is_the_same(loaded: script.Script, state: dict[str, Any], event: BotEvent) -> None:
    """If the same turn runs twice, both results are the same. A crash between turn and commit repeats the turn."""
    first, second = engine.turn(loaded, state, event), engine.turn(loaded, state, event)
    assert json.dumps(first[0]) == json.dumps(second[0])
    assert first[1] == second[1]


def test_the_same_turn_in_another_process_is_the_same() -> None:
    """The same turn has the same result in another process.

    Even the order of keys does not depend on the process's hash seed.
    """
    code = (
        "import sys; from waypost.bot import BotEvent, engine, script; loaded = script.load(sys.stdin.read());"
        "state = {'v': 1, 'slots': {'t': 'T', 'c': 'x', 'n': '1'}, 'dialog': 'd', 'step': 'c', 'asked_at': 1.0};"
        "print(engine.turn(loaded, state, BotEvent('text', text='y', now=2.0))[0])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=EVERYTHING,
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


@given(_event)
def test_the_repr_of_an_event_contains_no_text(event: BotEvent) -> None:
    """The repr of an event contains no text of a person, because a repr may reach logs and tracebacks."""
    assert repr(event) == f"BotEvent(type={event.type!r}, occurred_at={event.occurred_at!r}, now={event.now!r})"
