"""Dialogs ask over several turns, store answers and end."""

from collections.abc import Callable
from typing import Any

import pytest

from waypost.bot import HandOff, OptOut

SCRIPT = """
    version: 1
    intents:
      order: {keywords: [order], buttons: [order], start: order}
      hours: {keywords: [hours], buttons: [hours], anytime: true, reply: Nine to five.}
      hello: {keywords: [hello], reply: Hello.}
      person: {keywords: [human], anytime: true, hand_off: {minutes: 5, reply: Coming.}}
    dialogs:
      order:
        timeout_minutes: 30
        timed_out: That took too long.
        steps:
          number:
            ask: Number?
            expect: {regex: '[a-z]-?[0-9]{3}'}
            store: number
            retry: Not a number.
            max_tries: 3
            give_up: {reply: Enough.}
          kind:
            ask: {text: "What is wrong with {{slot.number}}?", buttons: {late: Late, broken: Broken in two}}
            expect: {choice: {late: [late, slow], broken: [broken, in pieces]}}
            store: kind
            next: {broken: amount}
          date:
            ask: Since when?
            store: since
            next: check
          amount:
            ask: How many?
            expect: {number: {min: 1, max: 10, whole: true}}
            store: amount
            next:
              - when: {amount: {above: 5}}
                go: many
              - when: {kind: [broken], amount: {above: 0, below: 2}}
                go: check
              - go: some
          many: {say: "That is a lot: {{slot.amount}}.", next: check}
          some: {say: Some.}
          check:
            confirm: "{{slot.number}}: {{slot.kind}}. Right?"
            no: number
        done: Thanks for {{slot.number}}.
    fallback: What?
"""

Talk = Callable[..., Any]


def at(talk: Talk, *texts: str) -> Any:
    """Returns a conversation in which these texts were sent."""
    conversation = talk(SCRIPT)
    for text in texts:
        conversation.say(text)
    return conversation


def test_answers_are_stored_over_the_turns_to_the_end(talk: Talk) -> None:
    """A dialog runs to its end: question, choice by button, branch, confirmation, end."""
    conversation = talk(SCRIPT)
    said = [
        conversation.say("my order"),
        conversation.say("A-123"),
        conversation.press("late", "Late"),
        conversation.say("monday"),
        conversation.press("yes", "Yes"),
        conversation.say("hello"),
    ]
    assert said == [
        ["Number?"],
        ["What is wrong with A-123?"],
        ["Since when?"],
        ["A-123: Late. Right?"],
        ["Thanks for A-123."],
        ["Hello."],
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a123", "What is wrong with a123?"),
        ("  A-123 ", "What is wrong with A-123?"),
        ("it is A-123", "Not a number."),
        ("hello", "Not a number."),
        ("{{slot.number}}", "Not a number."),
    ],
)
def test_an_answer_must_match_as_a_whole(talk: Talk, text: str, answer: str) -> None:
    """A keyword of an intent that is not valid at any time does not interrupt the question either."""
    assert at(talk, "order").say(text) == [answer]


@pytest.mark.parametrize("text", ["late", "LATE!", "it is slow", "Late"])
def test_a_choice_may_be_typed(talk: Talk, text: str) -> None:
    """Titles, ids, and the words of a choice inside a sentence are all accepted."""
    assert at(talk, "order", "a-123").say(text) == ["Since when?"]


def test_a_typed_answer_that_means_two_choices_is_asked_again(talk: Talk) -> None:
    """The question is repeated, because the step has no text for retries."""
    said = at(talk, "order", "a-123").say("late and broken")
    assert said == ["Sorry, I did not understand that.", "What is wrong with a-123?"]


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("7", ["That is a lot: 7.", "A-123: Broken in two. Right?"]),
        ("1", ["A-123: Broken in two. Right?"]),
        ("3", ["Some.", "A-123: Broken in two. Right?"]),
        ("3,0", ["Some.", "A-123: Broken in two. Right?"]),
    ],
)
def test_stored_answers_decide_the_next_step(talk: Talk, text: str, answers: list[str]) -> None:
    """The first rule whose conditions all hold names the next step."""
    assert at(talk, "order", "A-123", "broken").say(text) == answers


@pytest.mark.parametrize("text", ["0", "11", "1.5", "many", "1e1", "1.000,00", "-1", "", "1" * 30, "٣"])
def test_a_number_out_of_range_or_shape_is_asked_again(talk: Talk, text: str) -> None:
    """Ambiguous writings are asked again rather than guessed."""
    assert "How many?" in at(talk, "order", "a-123", "broken").say(text)


def test_no_leads_where_the_script_says(talk: Talk) -> None:
    """A correction asks the questions from that step again."""
    assert at(talk, "order", "a-123", "late", "monday").say("No.") == ["Number?"]


def test_a_question_gives_up_after_the_last_try(talk: Talk) -> None:
    """The message after the last try is handled like any other."""
    conversation = at(talk, "order")
    said = [conversation.say(text) for text in ("x", "x", "x", "hello")]
    assert said == [["Not a number."], ["Not a number."], ["Enough."], ["Hello."]]


def test_tries_are_counted_for_each_question(talk: Talk) -> None:
    """Two wrong answers to one question do not count for the next one."""
    conversation = at(talk, "order", "x", "x", "a-123", "x", "x")
    assert conversation.state["step"] == "kind"


@pytest.mark.parametrize("text", ["cancel", "Cancel!", "annulla", "取消"])
def test_a_cancel_word_leaves_the_dialog(talk: Talk, text: str) -> None:
    """Cancel words count as a whole message, in several languages."""
    conversation = at(talk, "order")
    assert conversation.say(text) == ["All right, never mind."]
    assert conversation.say("hello") == ["Hello."]


def test_a_cancel_word_outside_a_dialog_is_an_ordinary_word(talk: Talk) -> None:
    """There is nothing to leave."""
    assert talk(SCRIPT).say("cancel") == ["What?"]


def test_stop_in_a_dialog_is_an_opt_out_and_forgets_the_answers(talk: Talk) -> None:
    """Consent words come before every question."""
    conversation = at(talk, "order", "a-123")
    conversation.say("stop")
    assert [type(effect) for effect in conversation.effects] == [OptOut]
    assert conversation.state == {"v": 1, "opted_out": True}


def test_an_interruption_is_answered_and_the_question_repeated(talk: Talk) -> None:
    """An intent that is valid at any time keeps the place in the dialog."""
    conversation = at(talk, "order")
    assert conversation.say("hours?") == ["Nine to five.", "Number?"]
    assert conversation.say("a-123") == ["What is wrong with a-123?"]


def test_an_old_button_of_the_menu_is_an_interruption(talk: Talk) -> None:
    """People scroll up and press what they see."""
    assert at(talk, "order").press("hours") == ["Nine to five.", "Number?"]


def test_an_old_button_that_starts_the_dialog_starts_it_again(talk: Talk) -> None:
    """The earlier answers are deleted."""
    conversation = at(talk, "order", "a-123")
    assert conversation.press("order") == ["Number?"]
    assert "slots" not in conversation.state


def test_a_hand_off_ends_the_dialog(talk: Talk) -> None:
    """A person does not want the bot's question repeated."""
    conversation = at(talk, "order")
    assert conversation.say("human") == ["Coming."]
    assert isinstance(conversation.effects[-1], HandOff)
    assert "dialog" not in conversation.state


def test_a_reaction_in_a_dialog_is_not_a_wrong_answer(talk: Talk) -> None:
    """Neither the state nor the conversation changes."""
    conversation = at(talk, "order")
    before = conversation.state
    assert conversation.send(type="reaction", text="👍") == []
    assert conversation.state == before


def test_silence_ends_the_dialog_and_the_next_message_is_answered(talk: Talk) -> None:
    """After the time-out, the next message is handled like any other."""
    conversation = at(talk, "order")
    conversation.now += 31 * 60
    assert conversation.say("hello") == ["That took too long.", "Hello."]


def test_a_late_answer_gets_an_explanation_only(talk: Talk) -> None:
    """The bot does not add "What?" to the explanation."""
    conversation = at(talk, "order")
    conversation.now += 31 * 60
    assert conversation.say("a-123") == ["That took too long."]


def test_an_answer_written_in_time_counts_however_late_it_is_processed(talk: Talk) -> None:
    """An outage of the platform does not count as silence of the contact."""
    conversation = at(talk, "order")
    written = conversation.now + 60
    assert conversation.send(text="a-123", occurred_at=written, now=written + 7200) == ["What is wrong with a-123?"]


def test_starting_again_deletes_earlier_answers(talk: Talk) -> None:
    """An old order number never slips into a new question."""
    conversation = at(talk, "order", "a-123", "late", "monday", "yes")
    assert conversation.state["slots"]["number"] == "a-123"
    conversation.say("order")
    assert "slots" not in conversation.state


@pytest.mark.parametrize("step", ["renamed", "some"])
def test_a_step_that_a_changed_script_no_longer_asks_restarts_the_dialog(talk: Talk, step: str) -> None:
    """The bot apologises and asks the first question."""
    conversation = talk(SCRIPT, {"v": 1, "dialog": "order", "step": step, "asked_at": 1_795_435_200.0})
    assert conversation.say("monday") == ["Sorry, something changed on our side. Let us start that again.", "Number?"]


def test_a_dialog_that_the_changed_script_lacks_is_ended(talk: Talk) -> None:
    """The message is handled like any other."""
    conversation = talk(SCRIPT, {"v": 1, "dialog": "gone", "step": "x", "asked_at": 1_795_435_200.0})
    assert conversation.say("hello") == ["Hello."]


def test_a_photo_answers_a_question_for_a_photo(talk: Talk) -> None:
    """A text does not answer it."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs: {d: {steps: {photo: {ask: Photo?, expect: {types: [image]}, retry: A photo please.}}, done: Thanks.}}
    """)
    said = [conversation.say("a"), conversation.say("here"), conversation.send(type="image")]
    assert said == [["Photo?"], ["A photo please."], ["Thanks."]]


def test_buttons_without_expect_ask_for_one_of_them(talk: Talk) -> None:
    """Buttons are the short way to write a choice."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs:
          d: {steps: {q: {ask: {text: Tea?, buttons: {t: Tea, c: Coffee}}, store: drink}}, done: "{{slot.drink}}!"}
    """)
    conversation.say("a")
    assert conversation.say("coffee") == ["Coffee!"]


def test_a_dialog_can_end_with_a_person(talk: Talk) -> None:
    """A step may hand the conversation off."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs: {d: {steps: {q: {ask: Why?}, t: {hand_off: {minutes: 9, reply: Coming.}}}}}
    """)
    conversation.say("a")
    assert conversation.say("because") == ["Coming."]
    assert conversation.effects[-1].minutes == 9


def test_giving_up_can_call_a_person(talk: Talk) -> None:
    """A contact who cannot answer is handed to a person."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs:
          d: {steps: {q: {ask: How many?, expect: number, max_tries: 1, give_up: {hand_off: {reply: Coming.}}}}}
    """)
    conversation.say("a")
    assert conversation.say("lots") == ["Coming."]
    assert isinstance(conversation.effects[-1], HandOff)
