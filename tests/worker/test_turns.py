"""Tests which rows the turn for each kind of event writes into the database."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from waypost.bot.effects import Effect, HandOff, OptIn, OptOut, Reply
from waypost.bot.event import BotEvent
from waypost.cloudapi.inbound import delivery
from waypost.cloudapi.messages import Text
from waypost.contracts.registry import Number
from waypost.lanes.drain import Drain, Limits
from waypost.store import dead, inbox
from waypost.worker.bots import Bots
from waypost.worker.deadline import Deadline
from waypost.worker.turns import Turns

NUMBER = Number(
    namespace="team", name="support", phone_number_id="100", waba_id="200", app_id="300", access_token="token", bot="-"
)
SENDER = {"from": "15551234567"}
Bot = Callable[[dict[str, Any], BotEvent], tuple[dict[str, Any], Sequence[Effect]]]


def echo(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
    """Counts the turns and repeats the text."""
    return {"turns": state.get("turns", 0) + 1}, [Reply(Text(event.text or "-"))]


class OneBot(Bots):
    """Bots with the same turn function for every number."""

    def __init__(self, bot: Bot | None) -> None:
        self.bot = bot

    def turn(self, _number: Number) -> Bot | None:
        return self.bot


class World:
    """An installation to which a test delivers values in Meta's form. It drains every lane and reads the rows."""

    def __init__(
        self, engine: Engine, bot: Bot | None = echo, number: Number | None = NUMBER, bots: Bots | None = None
    ) -> None:
        self.engine = engine
        self.woken: list[int] = []
        self.turns = Turns(
            lambda _number_id: number, bots=bots or OneBot(bot), deadline=Deadline(5), wake_sender=self.woken.extend
        )
        self.drain = Drain(engine, self.turns, owner="test", limits=Limits(retry_delays_s=(0.0,)))

    def deliver(self, value: dict[str, Any], field: str = "messages") -> None:
        whole = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550783881", "phone_number_id": "100"},
            **value,
        }
        body = json.dumps(
            {
                "object": "whatsapp_business_account",
                "entry": [{"id": "200", "changes": [{"field": field, "value": whole}]}],
            }
        ).encode()
        events = delivery.split(body, default_number="100")
        with self.engine.begin() as connection:
            inserted = inbox.insert(connection, [(event, None) for event in events], writer=0)
        self.drain.run(inserted.lanes)

    def say(self, body: str, *, ago_s: float = 1, wamid: str | None = None, sender: dict[str, str] = SENDER) -> None:
        message = {
            "id": wamid or f"wamid.{time.monotonic_ns()}",
            "timestamp": str(int(time.time() - ago_s)),
            "type": "text",
            "text": {"body": body},
            **sender,
        }
        self.deliver({"messages": [message]})

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)).all())


@pytest.fixture
def world(database: Engine) -> World:
    """Returns a number with a bot that echoes."""
    return World(database)


def test_a_message_writes_state_message_and_reply(world: World) -> None:
    """After a turn, the message and the new state are stored, the reply is queued, and the event is done."""
    world.say("one")
    world.say("two")
    assert [row.body for row in world.rows("SELECT body FROM message ORDER BY id")] == ["one", "two"]
    assert [row.state for row in world.rows("SELECT state FROM conversation")] == [{"turns": 2}]
    assert [row.text for row in world.rows("SELECT body->'text'->>'body' AS text FROM outbox ORDER BY id")] == [
        "one",
        "two",
    ]
    assert [row.state for row in world.rows("SELECT DISTINCT state FROM event")] == ["done"]
    assert len(world.woken) == 2


def test_turns_of_one_delivery_build_on_each_other(world: World) -> None:
    """If two messages of a conversation are in one batch, the second turn gets the state that the first turn left."""
    messages = [
        {"from": "15551234567", "id": f"wamid.{n}", "timestamp": str(int(time.time()) - 9 + n), "type": "text",
         "text": {"body": str(n)}}
        for n in range(3)
    ]  # fmt: skip
    world.deliver({"messages": messages})
    assert [row.state for row in world.rows("SELECT state FROM conversation")] == [{"turns": 3}]


def test_a_user_with_bsuid_and_phone_is_one_contact(world: World) -> None:
    """A user who writes by phone number, by BSUID or with both identities has only one conversation."""
    world.say("a")
    world.say("b", sender={"from": "15551234567", "from_user_id": "US.13491208655302741918"})
    world.say("c", sender={"from_user_id": "US.13491208655302741918"})
    assert [row.state for row in world.rows("SELECT state FROM conversation")] == [{"turns": 3}]
    (contact,) = world.rows("SELECT wa_id, user_id FROM contact")
    assert tuple(contact) == ("15551234567", "US.13491208655302741918")


def test_a_phone_number_that_changed_hands_starts_a_new_conversation(world: World) -> None:
    """A phone number with another BSUID is another person and starts a new conversation.

    A BSUID is valid only as long as the person has its phone number.
    """
    world.say("old", sender={"from": "15551234567", "from_user_id": "US.1111111111"})
    world.say("new", sender={"from": "15551234567", "from_user_id": "US.2222222222"})
    contacts = {row.user_id: row.wa_id for row in world.rows("SELECT user_id, wa_id FROM contact")}
    assert contacts == {"US.1111111111": None, "US.2222222222": "15551234567"}
    assert [row.state for row in world.rows("SELECT state FROM conversation")] == [{"turns": 1}, {"turns": 1}]


@pytest.mark.fault("D3")
def test_a_stale_message_is_stored_and_not_answered(world: World) -> None:
    """A message that is more than a day old by its own time is stored but not answered: the window is closed.

    This happens after a replay or after days of outage.
    """
    world.say("late", ago_s=25 * 3600)
    assert world.rows("SELECT * FROM outbox") == []
    assert [row.reason for row in world.rows("SELECT reason FROM event")] == ["Stale"]
    assert [row.body for row in world.rows("SELECT body FROM message")] == ["late"]


DAY_S = 24 * 3600
OLD: dict[str, Callable[[str], tuple[str, dict[str, Any]]]] = {
    "echo": lambda at: (
        "smb_message_echoes",
        {"message_echoes": [{"from": "15550783881", "to": "15551234567", "id": "wamid.echo", "timestamp": at,
                             "type": "text", "text": {"body": "a person"}}]},
    ),
    "standby": lambda at: (
        "standby",
        {"standby": {"messages": [{"from": "15551234567", "id": "wamid.standby", "timestamp": at,
                                   "type": "text", "text": {"body": "to another app"}}]}},
    ),
    "preference": lambda at: (
        "user_preferences",
        {"user_preferences": [{"wa_id": "15551234567", "category": "marketing_messages", "value": "resume",
                               "detail": "User requested to resume", "timestamp": at}]},
    ),
    "changed number": lambda at: (
        "messages",
        {"messages": [{"from": "15551234567", "id": "wamid.changed", "timestamp": at, "type": "system",
                       "system": {"type": "user_changed_number", "wa_id": "15557654321", "body": "changed"}}]},
    ),
}  # fmt: skip


@pytest.mark.fault("D3")
@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize(("days", "counts"), [(7, True), (9, False)], ids=["redelivered", "replayed"])
def test_an_event_that_meta_no_longer_redelivers_has_no_effect(
    world: World, name: str, days: int, counts: bool
) -> None:
    """An event that is older than what Meta redelivers changes nothing, but one that Meta redelivers does.

    The inbox forgets handled events after some days, so a recorded delivery could otherwise be replayed: it would
    silence the bot, allow marketing messages again, or give a conversation to another phone number.
    """
    world.say("hello")
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE contact SET marketing_stopped_at = now()"))
    field, value = OLD[name](str(int(time.time() - days * DAY_S)))
    world.deliver(value, field=field)

    (row,) = world.rows(
        "SELECT owner, wa_id, marketing_stopped_at IS NULL FROM conversation JOIN contact ON contact.id = contact_id"
    )
    assert (tuple(row) != ("bot", "15551234567", False)) is counts
    reasons = [row.reason for row in world.rows("SELECT reason FROM event ORDER BY id")]
    assert reasons == [None, None if counts else "Stale"]


@pytest.mark.fault("D3")
@pytest.mark.parametrize(("days", "counts"), [(7, True), (9, False)], ids=["redelivered", "replayed"])
def test_a_replayed_stop_does_not_silence_a_contact_that_has_started_again(
    world: World, days: int, counts: bool
) -> None:
    """A recorded STOP that is delivered again after Meta's time for redelivery changes nothing."""
    world.say("stop", ago_s=days * DAY_S)
    assert [row.out for row in world.rows("SELECT opted_out_at IS NOT NULL AS out FROM contact")] == [counts]


@pytest.mark.fault("D3")
def test_a_dead_stop_counts_when_it_is_replayed_after_weeks(world: World) -> None:
    """The age of an event is its age at its arrival, so an operator may replay a dead event at any time."""
    world.say("stop")
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE contact SET opted_out_at = NULL, opt_out_source = NULL"))
        connection.execute(
            text("""
                UPDATE event SET state = 'dead', reason = 'ValueError', occurred_at = occurred_at - interval '20 days',
                    received_at = received_at - interval '20 days'
            """)
        )
        assert dead.replay(connection, dead.Selection(reason="ValueError"), limit=10)
    world.drain.run([row.lane for row in world.rows("SELECT lane FROM event")])
    assert [row.out for row in world.rows("SELECT opted_out_at IS NOT NULL AS out FROM contact")] == [True]


def test_the_window_counts_from_the_messages_own_time(world: World) -> None:
    """The window closes 24 h after Meta's time stamp of the message, not after our receipt.

    An older message never makes the window shorter.
    """
    world.say("now", ago_s=60)
    world.say("older", ago_s=3600)
    (row,) = world.rows("SELECT extract(epoch FROM window_expires_at - now()) AS remaining_s FROM conversation")
    assert 24 * 3600 - 3600 < row.remaining_s <= 24 * 3600


def test_stop_is_recorded_for_a_number_without_a_bot(database: Engine) -> None:
    """STOP is recorded even for a number without a bot, because the words for consent count everywhere."""
    world = World(database, bot=None, number=msgspec.structs.replace(NUMBER, bot=None))
    world.say("Stop")
    assert [row.source for row in world.rows("SELECT opt_out_source AS source FROM contact")] == ["keyword"]
    world.say("START")
    assert [row.at for row in world.rows("SELECT opted_out_at AS at FROM contact")] == [None]


def test_stop_counts_while_a_person_has_the_conversation(database: Engine) -> None:
    """STOP counts while a person has the conversation.

    The bot does not answer it, but a schedule may not write to this contact any more.
    """
    world = World(database, bot=lambda state, _event: (state, [HandOff()]))
    world.say("agent")
    world.say("STOP")
    assert [row.source for row in world.rows("SELECT opt_out_source AS source FROM contact")] == ["keyword"]


def test_only_the_first_notice_after_stop_passes_the_gate(database: Engine) -> None:
    """Only the first confirmation of STOP is marked as a notice and passes the gate.

    If an opted-out contact sends STOP again, the second confirmation is not marked.
    """
    world = World(database, bot=lambda state, _event: (state, [OptOut(Text("You will hear no more"))]))
    world.say("stop")
    world.say("stop")
    assert [row.notice for row in world.rows("SELECT consent_notice AS notice FROM outbox ORDER BY id")] == [
        True,
        False,
    ]


def test_a_hand_off_says_so_and_silences_the_bot(database: Engine) -> None:
    """A hand-off is announced and silences the bot. Replies of the same turn are still sent.

    Later messages are stored for the person who took over.
    """
    world = World(
        database, bot=lambda state, _event: (state, [Reply(Text("One moment")), HandOff(30, Text("Ada will"))])
    )
    world.say("agent")
    world.say("are you there?")
    assert [row.notice for row in world.rows("SELECT consent_notice AS notice FROM outbox")] == [True, True]
    assert [row.owner for row in world.rows("SELECT owner FROM conversation")] == ["human"]
    assert [row.reason for row in world.rows("SELECT reason FROM event ORDER BY id")] == [None, "HumanOwnsConversation"]


def test_opting_in_lets_the_bot_speak_again(database: Engine) -> None:
    """START clears the opt-out before the confirmation is queued, so that the bot may write again."""
    world = World(
        database,
        bot=lambda state, event: (state, [OptOut() if event.text == "stop" else OptIn(Text("Welcome back"))]),
    )
    world.say("stop")
    world.say("start")
    assert [row.at for row in world.rows("SELECT opted_out_at AS at FROM contact")] == [None]
    assert len(world.rows("SELECT * FROM outbox")) == 1


def test_a_message_typed_by_a_person_silences_the_bot_for_a_while(world: World) -> None:
    """An echo from the WhatsApp Business app hands the conversation over for half an hour."""
    world.say("hello")
    echoed = {
        "from": "15550783881", "to": "15551234567", "id": "wamid.echo", "timestamp": str(int(time.time())),
        "type": "text", "text": {"body": "I am a person"},
    }  # fmt: skip
    world.deliver({"message_echoes": [echoed]}, field="smb_message_echoes")
    world.say("thanks")
    assert len(world.rows("SELECT * FROM outbox")) == 1
    (row,) = world.rows("SELECT owner, extract(epoch FROM owner_until - now()) AS remaining_s FROM conversation")
    assert row.owner == "human"
    assert 0 < row.remaining_s <= 1800


@pytest.mark.parametrize(
    ("minutes", "least_s"), [(None, None), (480, 470 * 60)], ids=["without end", "for the working day"]
)
def test_a_message_typed_by_a_person_does_not_cut_a_hand_off_short(
    database: Engine, minutes: int | None, least_s: int | None
) -> None:
    """A message that a person typed does not make a longer hand-off shorter.

    Otherwise the bot would answer again in a conversation that it had handed over for longer (G5).
    """
    world = World(database, bot=lambda state, _event: (state, [HandOff(minutes)]))
    world.say("a person, please")
    echoed = {
        "from": "15550783881", "to": "15551234567", "id": "wamid.echo", "timestamp": str(int(time.time())),
        "type": "text", "text": {"body": "I am a person"},
    }  # fmt: skip
    world.deliver({"message_echoes": [echoed]}, field="smb_message_echoes")
    (row,) = world.rows("SELECT owner, extract(epoch FROM owner_until - now()) AS remaining_s FROM conversation")
    assert row.owner == "human"
    assert row.remaining_s is None if least_s is None else row.remaining_s > least_s


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after the other"])
def test_the_notice_of_a_hand_off_does_not_pass_the_gate_after_stop(database: Engine, together: bool) -> None:
    """After STOP, the notice of an earlier hand-off does not pass the gate (G5).

    The notice may wait for hours while its number is paused, and the contact may opt out before it is sent.
    """

    def bot(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
        if event.text == "STOP":
            return state, [OptOut(Text("You get no more messages"))]
        return state, [HandOff(None, Text("A person will write to you"))]

    world = World(database, bot=bot)
    texts = [_text("hello", ago_s=9), _text("STOP", ago_s=5)]
    for messages in [texts] if together else [[message] for message in texts]:
        world.deliver({"messages": messages})
    rows = world.rows("SELECT consent_notice AS notice FROM outbox ORDER BY id")
    assert [row.notice for row in rows] == [False]


def test_a_turn_with_an_effect_that_fails_sends_nothing(database: Engine) -> None:
    """If one effect of a turn fails, the turn sends nothing.

    Otherwise each attempt would send the effects before the failed one again (G2).
    """
    world = World(database, bot=lambda state, _event: (state, [Reply(Text("once")), HandOff(10**12)]))
    world.say("hello")
    assert [tuple(row) for row in world.rows("SELECT state, reason FROM event")] == [("dead", "OverflowError")]
    assert world.rows("SELECT * FROM outbox") == []


def test_a_message_whose_turn_failed_is_in_the_history(database: Engine) -> None:
    """A person who looks at the conversation sees what the contact wrote, though the bot failed on it."""

    def bot(_state: dict[str, Any], _event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
        raise ValueError("not today")

    world = World(database, bot=bot)
    world.say("a table for two")
    assert [tuple(row) for row in world.rows("SELECT state, attempts FROM event")] == [("dead", 3)]
    assert [row.body for row in world.rows("SELECT body FROM message")] == ["a table for two"]


def test_changes_of_a_failing_turn_to_its_state_are_not_stored(database: Engine) -> None:
    """If a turn changes the state in place and then fails, the change is not stored.

    The turn of an earlier message in the batch must not store the change either.
    """

    def bot(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
        state.setdefault("heard", []).append(event.text)
        if event.text == "bad":
            raise ValueError("not today")
        return state, []

    world = World(database, bot=bot)
    world.deliver({"messages": [_text("good", ago_s=9), _text("bad", ago_s=5)]})
    assert [row.state for row in world.rows("SELECT state FROM conversation")] == [{"heard": ["good"]}]


def _text(body: str, *, ago_s: float) -> dict[str, Any]:
    return {
        "from": "15551234567", "id": f"wamid.{body}", "timestamp": str(int(time.time() - ago_s)),
        "type": "text", "text": {"body": body},
    }  # fmt: skip


def test_a_contact_who_changes_number_keeps_the_conversation(world: World) -> None:
    """A contact who changes number keeps the conversation. Meta's system message names the old and the new number."""
    world.say("hello")
    world.deliver(
        {
            "messages": [
                {
                    "from": "15551234567", "id": "wamid.moved", "timestamp": str(int(time.time())), "type": "system",
                    "system": {"body": "changed", "type": "user_changed_number", "wa_id": "15557654321"},
                }
            ]
        }
    )  # fmt: skip
    assert [row.wa_id for row in world.rows("SELECT wa_id FROM contact")] == ["15557654321"]


def test_events_of_a_number_wait_until_the_worker_has_it(database: Engine) -> None:
    """If the webhook has a number before the worker, the number's messages wait until the worker has it too.

    Then they are answered.
    """
    world = World(database, number=None)
    world.say("hello")
    world.say("are you there?")
    assert [tuple(row) for row in world.rows("SELECT state, reason FROM event ORDER BY id")] == [
        ("waiting", None),
        ("waiting", None),
    ]
    world.turns.numbers = lambda _number_id: NUMBER
    Drain(database, world.turns, owner="later").run(range(64))
    assert [row.text for row in world.rows("SELECT body->'text'->>'body' AS text FROM outbox ORDER BY id")] == [
        "hello",
        "are you there?",
    ]


def test_events_of_a_number_that_the_registry_never_gets_are_dead(database: Engine) -> None:
    """If the worker still does not have a number after a quarter of an hour, the number's events are dead.

    This is more than a delay. The events can be replayed once the number is there.
    """
    world = World(database, number=None)
    world.turns.clock = lambda: time.time() + 16 * 60
    world.say("hello")
    assert [tuple(row) for row in world.rows("SELECT state, reason FROM event")] == [("dead", "NumberMissing")]


def test_a_turn_that_never_ends_is_interrupted(database: Engine) -> None:
    """A turn that never ends is interrupted, even if its pure Python code catches every `Exception`."""

    def stubborn(_state: dict[str, Any], _event: BotEvent) -> Any:
        while True:
            try:
                while True:
                    pass
            except Exception:  # noqa: BLE001 - the kind of bot that this test is about
                continue

    world = World(database, bot=stubborn)
    world.turns.deadline = Deadline(0.05)
    world.say("hello")
    assert [tuple(row) for row in world.rows("SELECT state, reason FROM event")] == [("dead", "TurnTimeout")]
