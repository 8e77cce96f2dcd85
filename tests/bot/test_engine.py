"""Intents, fallback, hand-off and consent work in conversations with a contact."""

from collections.abc import Callable
from typing import Any

import pytest

from waypost.bot import HandOff, OptIn, OptOut, Reply

SCRIPT = """
    version: 1
    intents:
      greeting:
        keywords: [hi, good morning, ciao, "👍", 你好]
        reply: Hello {{profile_name|friend}}!
      order:
        regex: 'order\\s+#?[0-9]+'
        reply: About your order.
      status:
        keywords: [order]
        reply: Which order?
      photo:
        types: [image, sticker]
        reply: Nice picture.
      menu:
        keywords: [menu]
        buttons: [menu]
        reply: [First., {text: Second., buttons: {menu: Menu, leave: Leave us, back: Come back}}]
      leave:
        buttons: [leave]
        opt_out: true
      back:
        buttons: [back]
        opt_in: true
        reply: Good to see you.
      person:
        keywords: [human]
        hand_off: {minutes: 60, reply: A colleague is coming.}
      forever:
        keywords: [complaint]
        hand_off: true
    fallback:
      reply: What?
      hand_off_after: 3
      hand_off: {minutes: 30, reply: I give up.}
"""

Talk = Callable[..., Any]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("hi", "Hello Ann!"),
        ("HI there", "Hello Ann!"),
        ("well, Good  Morning!", "Hello Ann!"),
        ("Ciào", "Hello Ann!"),
        ("👍🏿", "Hello Ann!"),
        ("说你好吗", "Hello Ann!"),
        ("this", "What?"),
        ("good evening, morning", "What?"),
        ("ORDER #7", "About your order."),
        ("order please", "Which order?"),
        ("order 7, hi", "Hello Ann!"),
        ("hi, I have an order", "Hello Ann!"),
        ("", "What?"),
    ],
)
def test_the_first_matching_intent_is_used(talk: Talk, text: str, answer: str) -> None:
    """The first matching intent in the order of the script is used.

    Keywords match whole words in any case and with any accents. Patterns match anywhere in the text.
    """
    assert talk(SCRIPT).say(text) == [answer]


def test_a_pressed_button_selects_its_intent_whatever_its_title_says(talk: Talk) -> None:
    """A pressed button selects its intent by its id, because its title may contain any keyword."""
    assert talk(SCRIPT).press("menu", title="hi") == ["First.", "Second."]


def test_a_message_type_selects_its_intent(talk: Talk) -> None:
    """A message type can select an intent: a photo without caption is answered by its type."""
    assert talk(SCRIPT).send(type="image") == ["Nice picture."]


@pytest.mark.parametrize("kind", ["reaction", "system", "unsupported", "edit", "revoke"])
def test_a_message_that_asks_for_nothing_is_not_answered(talk: Talk, kind: str) -> None:
    """A message that needs no answer, such as a reaction, is not answered with "What?"."""
    assert talk(SCRIPT).send(type=kind) == []


@pytest.mark.parametrize("kind", ["video", "location", "contacts", "a_type_of_next_year"])
def test_a_message_that_says_something_unknown_gets_the_fallback(talk: Talk, kind: str) -> None:
    """A message that the bot does not understand gets the fallback, because silence would look like a fault."""
    assert talk(SCRIPT).send(type=kind) == ["What?"]


def test_the_third_miss_in_a_row_calls_a_person(talk: Talk) -> None:
    """After three messages in a row that the bot does not understand, a person takes over.

    Waiting for a person is better than a bot that understands nothing.
    """
    conversation = talk(SCRIPT)
    said = [conversation.say("gibberish") for _ in range(3)]
    assert said == [["What?"], ["What?"], ["I give up."]]
    assert isinstance(conversation.effects[-1], HandOff)
    assert conversation.effects[-1].minutes == 30


def test_an_understood_message_resets_the_count_of_misses(talk: Talk) -> None:
    """A message that the bot understands resets the count of misses, because only misses in a row count."""
    conversation = talk(SCRIPT)
    for text in ("gibberish", "gibberish", "hi", "gibberish"):
        said = conversation.say(text)
    assert said == ["What?"]


def test_without_fallback_the_bot_is_silent(talk: Talk) -> None:
    """Without a fallback the bot is silent, so that a script may leave unknown messages to people."""
    assert talk("{version: 1, intents: {a: {keywords: a, reply: A}}}").say("b") == []


def test_a_hand_off_carries_its_minutes_and_its_words(talk: Talk) -> None:
    """A hand-off contains its minutes and its message in one effect, because the bot may not speak after it."""
    conversation = talk(SCRIPT)
    assert conversation.say("a human please") == ["A colleague is coming."]
    assert [(effect.minutes, type(effect)) for effect in conversation.effects] == [(60, HandOff)]


def test_a_hand_off_without_minutes_has_no_end(talk: Talk) -> None:
    """A hand-off without minutes has the value None, which the worker reads as "until a person ends it"."""
    conversation = talk(SCRIPT)
    assert conversation.say("complaint") == []
    assert conversation.effects == (HandOff(None, None),)


def test_stop_is_an_opt_out_with_one_notice(talk: Talk) -> None:
    """ "STOP" is an opt-out with one confirmation. This is the last message that the contact gets."""
    conversation = talk(SCRIPT)
    assert len(conversation.say("STOP")) == 1
    assert [type(effect) for effect in conversation.effects] == [OptOut]


def test_start_after_stop_is_an_opt_in(talk: Talk) -> None:
    """ "start" after "stop" is an opt-in, and the bot confirms it."""
    conversation = talk(SCRIPT)
    conversation.say("stop")
    assert len(conversation.say("start")) == 1
    assert [type(effect) for effect in conversation.effects] == [OptIn]


def test_start_as_a_greeting_is_recorded_and_answered_by_its_intent(talk: Talk) -> None:
    """If "start" is also a keyword of an intent, it is recorded as an opt-in and answered by this intent.

    The opt-in has an effect if the contact opted out in another channel.
    """
    conversation = talk("{version: 1, intents: {a: {keywords: start, reply: Welcome.}}}")
    assert conversation.say("start") == ["Welcome."]
    assert [type(effect) for effect in conversation.effects] == [OptIn, Reply]


def test_dont_stop_is_an_ordinary_message(talk: Talk) -> None:
    """ "don't stop" is an ordinary message, because only the whole message counts."""
    conversation = talk(SCRIPT)
    assert conversation.say("don't stop") == ["What?"]


def test_a_template_button_titled_stop_is_an_opt_out(talk: Talk) -> None:
    """A template button with the title "Stop promotions" is an opt-out.

    Meta's own opt-out button has a payload that the script does not define.
    """
    conversation = talk(SCRIPT)
    conversation.send(type="button", text="Stop promotions", button_id="anything")
    assert [type(effect) for effect in conversation.effects] == [OptOut]


def test_a_button_of_the_script_keeps_the_meaning_from_the_script(talk: Talk) -> None:
    """A button of the script with the title "Start" keeps its meaning from the script. It is not an opt-in."""
    assert talk(SCRIPT).press("menu", title="Start") == ["First.", "Second."]


def test_a_button_can_opt_out_and_in(talk: Talk) -> None:
    """Buttons of a menu can opt a contact out and in."""
    conversation = talk(SCRIPT)
    conversation.press("leave")
    opted_out = conversation.effects
    assert conversation.press("back") == ["Good to see you."]
    assert [type(effect) for effect in (*opted_out, *conversation.effects)] == [OptOut, OptIn]


def test_own_stop_words_and_notices_are_used(talk: Talk) -> None:
    """A script's own stop and start words work in addition to the built-in words, with the script's own replies."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, reply: A}}
        consent:
          stop: {words: [genug], reply: "Bye {{profile_name|friend}}."}
          start: {words: [los], reply: Hi again.}
    """)
    assert [conversation.say(text) for text in ("Genug!", "Los")] == [["Bye Ann."], ["Hi again."]]


def test_a_long_profile_name_does_not_cost_the_reply(talk: Talk) -> None:
    """If a profile name is too long, the reply is cut at Meta's limit instead of being refused."""
    conversation = talk(SCRIPT)
    said = conversation.send(text="hi", profile_name="x" * 10_000)
    assert len(said[0]) == 4096


def test_a_turn_does_not_change_the_state_it_was_given(talk: Talk) -> None:
    """A turn does not change the state that it gets, because the worker may run the turn again after a crash."""
    state = {"v": 1, "missed": 1}
    talk(SCRIPT, state).say("gibberish")
    assert state == {"v": 1, "missed": 1}
