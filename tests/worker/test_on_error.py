"""Tests what a contact gets whose message was given up: what the number's `onError` says."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from waypost.bot.effects import Effect, HandOff, OptOut, Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi.messages import Text
from waypost.contracts.registry import Number, OnError
from waypost.worker.bots import Bots
from waypost.worker.scripts import CompiledScripts

from .test_scripts import BROKEN
from .test_turns import NUMBER, World


def fails(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
    """Fails on each message, except those that a test needs before."""
    match event.text:
        case "agent":
            return state, [HandOff(30)]
        case "no more":
            return state, [OptOut()]
        case "hello":
            return state, [Reply(Text("Hello!"))]
    raise KeyError(event.text)


def world(database: Engine, **on_error: Any) -> World:
    """Returns a number whose bot fails, with this `onError`."""
    number = msgspec.structs.replace(NUMBER, on_error=OnError(**on_error))
    return World(database, bot=fails, number=number)


def replies(world: World) -> list[tuple[str, bool]]:
    """Returns the texts that were queued, and whether each passes the gate as a notice."""
    query = "SELECT body->'text'->>'body', consent_notice FROM outbox ORDER BY id"
    return [tuple(row) for row in world.rows(query)]


def owner(world: World) -> tuple[str, bool]:
    """Returns who has the conversation, and whether that ends by itself."""
    ((found, until),) = world.rows("SELECT owner, owner_until FROM conversation")
    return found, until is not None


def test_the_contact_gets_the_reply_after_the_last_attempt(database: Engine) -> None:
    """There is one reply per message, not one per attempt. The event is dead and the message in the history."""
    found = world(database, reply="Sorry!")
    found.say("a table for two")
    assert replies(found) == [("Sorry!", False)]
    assert [tuple(row) for row in found.rows("SELECT state, attempts FROM event")] == [("dead", 3)]
    assert [row.body for row in found.rows("SELECT body FROM message")] == ["a table for two"]
    assert len(found.woken) == 1
    assert owner(found) == ("bot", False)


@pytest.mark.parametrize(("minutes", "ends"), [(60, True), (None, False)])
def test_the_conversation_goes_to_a_person(database: Engine, minutes: int | None, *, ends: bool) -> None:
    """The text is the bot's last word, which passes the gate although a person has the conversation then."""
    found = world(database, reply="Ada will answer.", hand_off=True, hand_off_minutes=minutes)
    found.say("a table for two")
    found.say("and for three")
    assert replies(found) == [("Ada will answer.", True)]
    assert owner(found) == ("human", ends)


def test_a_hand_off_needs_no_text(database: Engine) -> None:
    """The person writes the first word."""
    found = world(database, hand_off=True)
    found.say("a table for two")
    assert replies(found) == []
    assert owner(found) == ("human", False)


def test_other_messages_of_the_batch_get_what_the_bot_says(database: Engine) -> None:
    """Only a message that was given up gets the text."""
    found = world(database, reply="Sorry!")
    found.say("hello")
    found.say("a table for two")
    found.say("hello")
    assert [text for text, _ in replies(found)] == ["Hello!", "Sorry!", "Hello!"]


def test_a_message_that_a_person_answers_gets_no_text(database: Engine) -> None:
    """The bot is not asked for it, so nothing fails."""
    found = world(database, reply="Sorry!")
    found.say("agent")
    found.say("a table for two")
    assert replies(found) == []


def test_a_contact_who_has_opted_out_gets_the_text_through_the_gate(database: Engine) -> None:
    """It is an ordinary reply and no notice, so the gate holds it back."""
    found = world(database, reply="Sorry!")
    found.say("no more")
    found.say("a table for two")
    assert replies(found) == [("Sorry!", False)]


def test_a_stop_on_which_the_bot_fails_counts(database: Engine) -> None:
    """A contact who wants no more messages must not depend on a working bot. The text is not sent."""
    found = world(database, reply="Sorry!")
    found.say("stop")
    assert replies(found) == []
    assert [row.at is not None for row in found.rows("SELECT opted_out_at AS at FROM contact")] == [True]


def test_a_bot_that_cannot_be_loaded_is_an_error_too(database: Engine) -> None:
    """The contact does not care why there is no answer."""
    number = msgspec.structs.replace(NUMBER, bot=BROKEN, bot_digest=None, on_error=OnError(reply="Sorry!"))
    scripts = CompiledScripts(lambda: {number.phone_number_id: number}, 1 << 30)
    scripts.compile_next()
    found = World(database, number=number, bots=Bots(scripts))
    found.say("a table for two")
    assert replies(found) == [("Sorry!", False)]


def test_entries_of_operators_without_the_field_are_read() -> None:
    """During an upgrade, workers read entries of the operator before."""
    written = msgspec.json.decode(msgspec.json.encode(NUMBER))
    del written["onError"]
    assert msgspec.convert(written, Number).on_error is None
