"""Tests that the plugin of one number delays no other number (G10).

Turns run in hosts, and their events are claimed by number.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.inbound import delivery
from waypost.contracts.bot_states import FAILURES
from waypost.contracts.registry import Number
from waypost.hosts.host import Zygote
from waypost.hosts.pool import Hosts
from waypost.lanes.drain import Drain
from waypost.store import claims, inbox, numbers
from waypost.worker import hosted_work
from waypost.worker.bot_health import BotHealth
from waypost.worker.bots import Bots
from waypost.worker.deadline import Deadline
from waypost.worker.hosted_turns import HostedTurns
from waypost.worker.hosted_work import HostedWork
from waypost.worker.scripts import CompiledScripts
from waypost.worker.turns import Turns

MEGABYTE = 1024 * 1024
ALLOWED = "tests.hostile.*"
LONG_S = 120.0


class World:
    """An installation with the hosts of one worker. Its numbers have hostile plugins.

    A test delivers messages to the installation.
    """

    def __init__(self, engine: Engine, *, deadline_s: float = LONG_S) -> None:
        self.engine = engine
        self.numbers: dict[str, Number] = {}
        self.health = BotHealth(lambda: self.numbers, dict)
        self.hosts = Hosts(Zygote(ALLOWED, memory_bytes=64 * MEGABYTE), at_once=4)
        turns = HostedTurns(
            engine,
            self.numbers.get,
            allowed=AllowedPlugins.read(ALLOWED),
            deadline_s=deadline_s,
            wake_sender=lambda _conversations: None,
            charge=lambda _incoming: None,
            health=self.health,
            retry_delays_s=(0.0,),
        )
        self.turns = turns
        self.work = HostedWork(engine, turns, self.hosts, at_once=4, has_plugins=lambda: True)

    def add(self, number_id: str, plugin: str, *, path: str = "") -> None:
        """Registers a number with one of the hostile plugins, or with the plugin at `path`."""
        self.numbers[number_id] = Number(
            namespace="team",
            name=f"n{number_id}",
            phone_number_id=number_id,
            waba_id="200",
            app_id="300",
            access_token="token",
            bot_plugin=path or f"tests.hostile.plugins:{plugin}",
        )
        with self.engine.begin() as connection:
            numbers.record(connection, [(number_id, "team", f"n{number_id}", "200")], hosted=[number_id])

    def say(self, number_id: str, *texts: str, contact: str = "15551230001") -> None:
        """Delivers messages of one contact and wakes the hosts, as a worker does for the lanes of a job."""
        messages = [
            {
                "from": contact,
                "id": f"wamid.{number_id}.{contact}.{time.monotonic_ns()}",
                "timestamp": str(int(time.time())),
                "type": "text",
                "text": {"body": body},
            }
            for body in texts
        ]
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550783881", "phone_number_id": number_id},
            "messages": messages,
        }
        body = {
            "object": "whatsapp_business_account",
            "entry": [{"id": "200", "changes": [{"field": "messages", "value": value}]}],
        }
        events = delivery.split(json.dumps(body).encode(), default_number=number_id)
        with self.engine.begin() as connection:
            inserted = inbox.insert(connection, [(event, None) for event in events], writer=0)
        self.work.wake(inserted.lanes)

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), parameters)]

    def count(self, number_id: str, state: str) -> int:
        """Returns how many events of a number are in a state."""
        query = "SELECT count(*) FROM event WHERE number_id = :number AND state = :state"
        return int(self.rows(query, number=number_id, state=state)[0][0])


@pytest.fixture
def build(database: Engine) -> Iterator[Callable[..., World]]:
    """Yields a function that builds a world and starts its hosts. They are stopped after the test."""
    built: list[World] = []

    def build(**options: Any) -> World:
        built.append(World(database, **options))
        built[-1].work.start()
        return built[-1]

    yield build
    for world in built:
        world.work.stop()


@pytest.mark.fault("P5")
def test_a_slow_plugin_delays_no_other_number(
    build: Callable[..., World], wait_for: Callable[..., object], tmp_path: Path
) -> None:
    """All messages of a quick number are answered while the slow plugin's turns have not ended."""
    world = build()
    world.add("1", "slow")
    world.add("2", "polite")
    end = tmp_path / "end"
    for contact in range(20):
        world.say("1", str(end), contact=f"1555{contact:07}")
    for contact in range(20):
        world.say("2", "hello", contact=f"1555{contact:07}")
    wait_for(lambda: world.count("2", "done") == 20)
    assert world.count("1", "done") == 0
    end.touch()
    wait_for(lambda: world.count("1", "done") == 20)


def test_messages_of_one_conversation_are_handled_in_their_order(
    build: Callable[..., World], wait_for: Callable[..., object]
) -> None:
    """The messages of a conversation are handled in their order.

    A number has two hosts, but a conversation has only one turn at a time.
    """
    world = build()
    world.add("1", "polite")
    said = [f"text {place}" for place in range(12)]
    world.say("1", *said)
    wait_for(lambda: world.count("1", "done") == len(said))
    assert [row[0] for row in world.rows("SELECT body->'text'->>'body' FROM outbox ORDER BY id")] == said
    assert world.rows("SELECT state->>'turns' FROM conversation") == [(str(len(said)),)]


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        ("raises", "ValueError"),
        ("exits", "HostEnded"),
        ("endless", "TurnTimeout"),
        ("eats_memory", "MemoryError"),
    ],
)
def test_a_failing_plugin_fails_only_its_own_events(
    build: Callable[..., World], wait_for: Callable[..., object], plugin: str, reason: str
) -> None:
    """A failing plugin fails only the events of its own number.

    After three attempts, the event is dead and says where the plugin failed. The message is in the history.
    """
    world = build(deadline_s=5.0 if plugin != "endless" else 0.3)
    world.add("1", plugin)
    world.add("2", "polite")
    world.say("1", "a table for Ada")
    world.say("2", "hello")
    wait_for(lambda: world.count("1", "dead") == 1 and world.count("2", "done") == 1)
    ((found, attempts, detail),) = world.rows("SELECT reason, attempts, detail FROM event WHERE number_id = '1'")
    assert (found, attempts) == (reason, 3)
    assert "Ada" not in str(detail)
    if plugin == "raises":
        assert detail.startswith("tests.hostile.plugins:")
    assert world.rows("SELECT body FROM message WHERE number_id = '1'") == [("a table for Ada",)]


def test_a_plugin_that_always_fails_gets_single_turns(
    build: Callable[..., World], wait_for: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a plugin has failed five times in a row, its number gets one turn at a time.

    The backlog of this number then costs the other numbers nothing.
    """
    monkeypatch.setattr(hosted_work, "PROBE_S", 3600.0)
    world = build()
    world.add("1", "raises")
    world.add("2", "polite")
    for contact in range(40):
        world.say("1", "hello", contact=f"1555{contact:07}")

    def attempts() -> int:
        return int(world.rows("SELECT coalesce(sum(attempts), 0) FROM event WHERE number_id = '1'")[0][0])

    wait_for(lambda: attempts() >= FAILURES)
    for contact in range(30):
        world.say("2", "hello", contact=f"1555{contact:07}")
    wait_for(lambda: world.count("2", "done") == 30)
    # Two hosts may each have begun a turn before the fifth failure was noted.
    assert attempts() <= FAILURES + 2


def test_drains_leave_messages_of_a_plugin_to_its_hosts(build: Callable[..., World], database: Engine) -> None:
    """A lane's drain handles no message of a number with a plugin.

    This holds even if the database does not yet say that the number has a plugin.
    """
    world = World(database)
    world.add("1", "polite")
    world.say("1", "hello")
    scripts = Turns(
        world.numbers.get,
        bots=Bots(CompiledScripts(dict, 1 << 30)),
        deadline=Deadline(5),
        wake_sender=lambda _ids: None,
    )
    Drain(database, scripts, owner="a").run(range(64))
    assert world.count("1", "waiting") == 1
    with database.begin() as connection:
        connection.execute(text("UPDATE number SET hosted = false"))
    Drain(database, scripts, owner="b").run(range(64))
    assert world.rows("SELECT state, attempts FROM event") == [("waiting", 0)]
    world.hosts.close()


def test_a_claim_that_was_lost_has_no_effect(database: Engine) -> None:
    """A turn has no effect if another worker has claimed its message since.

    This happens if a worker is suspended during a turn.
    """
    world = World(database)
    world.add("1", "polite")
    world.say("1", "hello")
    with database.begin() as connection:
        late = claims.claim_hosted(connection, "1", range(64), parked_s=-1)
    assert late is not None
    host = world.hosts.take("1")
    assert host is not None
    world.turns.take("1", host, range(64))
    with database.begin() as connection:
        assert not claims.hold_hosted(connection, late)
    assert world.count("1", "done") == 1
    host.close()
    world.hosts.close()


def test_a_message_that_ended_its_worker_three_times_is_dead(database: Engine) -> None:
    """A message that ended its worker three times is dead.

    A crash counts as an attempt, because the attempt is counted before the turn begins.
    """
    world = World(database)
    world.add("1", "polite")
    world.say("1", "hello")
    for _ in range(3):
        with database.begin() as connection:
            assert claims.claim_hosted(connection, "1", range(64), parked_s=-1) is not None
    host = world.hosts.take("1")
    assert host is not None
    world.turns.take("1", host, range(64))
    assert world.rows("SELECT state, reason FROM event") == [("dead", "WorkerCrashed")]
    host.close()
    world.hosts.close()
