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
    """A dialog stores its answers and runs to its end: question, choice by button, branch, confirmation, end."""
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
    """An answer must match the expected pattern as a whole.

    A keyword inside a dialog does not start another intent, unless that intent is valid at any time.
    """
    assert at(talk, "order").say(text) == [answer]


@pytest.mark.parametrize("text", ["late", "LATE!", "it is slow", "Late"])
def test_a_choice_may_be_typed(talk: Talk, text: str) -> None:
    """The contact may type a choice: its title, its id, or one of its words inside a sentence."""
    assert at(talk, "order", "a-123").say(text) == ["Since when?"]


def test_a_typed_answer_that_means_two_choices_is_asked_again(talk: Talk) -> None:
    """A typed answer that fits two choices is refused. The question is repeated, because the step has no retry text."""
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
    """The stored answers decide the next step. The first rule whose conditions are all true names this step."""
    assert at(talk, "order", "A-123", "broken").say(text) == answers


@pytest.mark.parametrize("text", ["0", "11", "1.5", "many", "1e1", "1.000,00", "-1", "", "1" * 30, "٣"])
def test_a_number_out_of_range_or_shape_is_asked_again(talk: Talk, text: str) -> None:
    """The bot asks again for a number that is out of range or ambiguous, because it must not guess."""
    assert "How many?" in at(talk, "order", "a-123", "broken").say(text)


def test_no_leads_where_the_script_says(talk: Talk) -> None:
    """After a "No", the dialog continues with the step that the script names. It repeats that step's question."""
    assert at(talk, "order", "a-123", "late", "monday").say("No.") == ["Number?"]


def test_a_question_gives_up_after_the_last_try(talk: Talk) -> None:
    """After the last try, a question ends the dialog. The next message is handled like a message outside a dialog."""
    conversation = at(talk, "order")
    said = [conversation.say(text) for text in ("x", "x", "x", "hello")]
    assert said == [["Not a number."], ["Not a number."], ["Enough."], ["Hello."]]


def test_tries_are_counted_for_each_question(talk: Talk) -> None:
    """The tries are counted for each question. Two wrong answers to one question do not count for the next question."""
    conversation = at(talk, "order", "x", "x", "a-123", "x", "x")
    assert conversation.state["step"] == "kind"


@pytest.mark.parametrize("text", ["cancel", "Cancel!", "annulla", "取消"])
def test_a_cancel_word_leaves_the_dialog(talk: Talk, text: str) -> None:
    """A cancel word ends the dialog if it is the whole message. There are cancel words in several languages."""
    conversation = at(talk, "order")
    assert conversation.say(text) == ["All right, never mind."]
    assert conversation.say("hello") == ["Hello."]


def test_a_cancel_word_outside_a_dialog_is_an_ordinary_word(talk: Talk) -> None:
    """Outside a dialog, a cancel word is an ordinary word, because there is nothing to cancel."""
    assert talk(SCRIPT).say("cancel") == ["What?"]


def test_stop_in_a_dialog_is_an_opt_out_and_forgets_the_answers(talk: Talk) -> None:
    """The word "stop" in a dialog is an opt-out and deletes the answers.

    The bot looks for consent words before it treats a message as an answer.
    """
    conversation = at(talk, "order", "a-123")
    conversation.say("stop")
    assert [type(effect) for effect in conversation.effects] == [OptOut]
    assert conversation.state == {"v": 1, "opted_out": True}


def test_an_interruption_is_answered_and_the_question_repeated(talk: Talk) -> None:
    """An intent that is valid at any time is answered inside a dialog. Then the question is repeated."""
    conversation = at(talk, "order")
    assert conversation.say("hours?") == ["Nine to five.", "Number?"]
    assert conversation.say("a-123") == ["What is wrong with a-123?"]


def test_an_old_button_of_the_menu_is_an_interruption(talk: Talk) -> None:
    """An old menu button is answered inside a dialog, because people scroll up and press old buttons."""
    assert at(talk, "order").press("hours") == ["Nine to five.", "Number?"]


def test_an_old_button_that_starts_the_dialog_starts_it_again(talk: Talk) -> None:
    """If an old button starts the current dialog, the dialog starts again. The earlier answers are deleted."""
    conversation = at(talk, "order", "a-123")
    assert conversation.press("order") == ["Number?"]
    assert "slots" not in conversation.state


def test_a_hand_off_ends_the_dialog(talk: Talk) -> None:
    """A hand-off ends the dialog. Otherwise the bot would repeat its question while a person answers."""
    conversation = at(talk, "order")
    assert conversation.say("human") == ["Coming."]
    assert isinstance(conversation.effects[-1], HandOff)
    assert "dialog" not in conversation.state


def test_a_reaction_in_a_dialog_is_not_a_wrong_answer(talk: Talk) -> None:
    """A reaction in a dialog is not a wrong answer. The bot sends nothing, and the state does not change."""
    conversation = at(talk, "order")
    before = conversation.state
    assert conversation.send(type="reaction", text="👍") == []
    assert conversation.state == before


def test_silence_ends_the_dialog_and_the_next_message_is_answered(talk: Talk) -> None:
    """A dialog ends after its time-out. The next message is handled like a message outside a dialog."""
    conversation = at(talk, "order")
    conversation.now += 31 * 60
    assert conversation.say("hello") == ["That took too long.", "Hello."]


def test_a_late_answer_gets_an_explanation_only(talk: Talk) -> None:
    """A late answer gets only the explanation that it is too late. The bot does not add "What?"."""
    conversation = at(talk, "order")
    conversation.now += 31 * 60
    assert conversation.say("a-123") == ["That took too long."]


def test_an_answer_written_in_time_counts_however_late_it_is_processed(talk: Talk) -> None:
    """An answer that was written in time counts, even if it is processed late.

    An outage of the platform does not count as silence of the contact.
    """
    conversation = at(talk, "order")
    written = conversation.now + 60
    assert conversation.send(text="a-123", occurred_at=written, now=written + 7200) == ["What is wrong with a-123?"]


def test_starting_again_deletes_earlier_answers(talk: Talk) -> None:
    """A dialog that starts again deletes the earlier answers, so that an old order number is never used again."""
    conversation = at(talk, "order", "a-123", "late", "monday", "yes")
    assert conversation.state["slots"]["number"] == "a-123"
    conversation.say("order")
    assert "slots" not in conversation.state


@pytest.mark.parametrize("step", ["renamed", "some"])
def test_a_step_that_a_changed_script_no_longer_asks_restarts_the_dialog(talk: Talk, step: str) -> None:
    """If a changed script no longer asks the current step, the bot apologises and asks the first question."""
    conversation = talk(SCRIPT, {"v": 1, "dialog": "order", "step": step, "asked_at": 1_795_435_200.0})
    assert conversation.say("monday") == ["Sorry, something changed on our side. Let us start that again.", "Number?"]


def test_a_dialog_that_the_changed_script_lacks_is_ended(talk: Talk) -> None:
    """If a changed script lacks the current dialog, the dialog ends.

    The message is then handled like a message outside a dialog.
    """
    conversation = talk(SCRIPT, {"v": 1, "dialog": "gone", "step": "x", "asked_at": 1_795_435_200.0})
    assert conversation.say("hello") == ["Hello."]


def test_a_photo_answers_a_question_for_a_photo(talk: Talk) -> None:
    """A photo answers a question that asks for a photo. A text does not answer it."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs: {d: {steps: {photo: {ask: Photo?, expect: {types: [image]}, retry: A photo please.}}, done: Thanks.}}
    """)
    said = [conversation.say("a"), conversation.say("here"), conversation.send(type="image")]
    assert said == [["Photo?"], ["A photo please."], ["Thanks."]]


def test_buttons_without_expect_ask_for_one_of_them(talk: Talk) -> None:
    """A question with buttons but without `expect` accepts one of the buttons.

    This is the short way to write a choice.
    """
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs:
          d: {steps: {q: {ask: {text: Tea?, buttons: {t: Tea, c: Coffee}}, store: drink}}, done: "{{slot.drink}}!"}
    """)
    conversation.say("a")
    assert conversation.say("coffee") == ["Coffee!"]


def test_a_dialog_can_end_with_a_person(talk: Talk) -> None:
    """A dialog can end with a step that hands the conversation to a person."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs: {d: {steps: {q: {ask: Why?}, t: {hand_off: {minutes: 9, reply: Coming.}}}}}
    """)
    conversation.say("a")
    assert conversation.say("because") == ["Coming."]
    assert conversation.effects[-1].minutes == 9


def test_giving_up_can_call_a_person(talk: Talk) -> None:
    """After the last try, a question can hand the conversation to a person."""
    conversation = talk("""
        version: 1
        intents: {a: {keywords: a, start: d}}
        dialogs:
          d: {steps: {q: {ask: How many?, expect: number, max_tries: 1, give_up: {hand_off: {reply: Coming.}}}}}
    """)
    conversation.say("a")
    assert conversation.say("lots") == ["Coming."]
    assert isinstance(conversation.effects[-1], HandOff)
