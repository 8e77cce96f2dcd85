"""`waypost dead` lists, replays and drops dead events.

The list does not show the content of events. After each command, the counts add up.
"""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from waypost.cli.main import app
from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.dev.embedded import EmbeddedRedis
from waypost.lanes import job
from waypost.store import counts, dead, inbox
from waypost.store.dead import Selection

NUMBER = "106540352242922"
SECRET_TEXT = b"canary: what a person wrote"

Waypost = Callable[..., Result]


def store(database: Engine, *keys: str, reason: str = "InvalidItem", number: str = NUMBER) -> list[int]:
    """Stores dead events with these keys and returns their ids."""
    arrivals = [
        (Event(number, EventKind.MESSAGE, key, "393331234567", 1_790_000_000.0, SECRET_TEXT, reason), None)
        for key in keys
    ]
    with database.begin() as connection:
        inbox.insert(connection, arrivals, 0)
        return list(
            connection.execute(
                text("SELECT id FROM event WHERE event_key = ANY(:keys) ORDER BY id"), {"keys": list(keys)}
            ).scalars()
        )


def states(database: Engine) -> dict[str, str]:
    """Returns the state of each event by its key."""
    with database.connect() as connection:
        return {row.event_key: row.state for row in connection.execute(text("SELECT event_key, state FROM event"))}


def assert_counts_add_up(database: Engine, number: str = NUMBER) -> None:
    """Checks that received = duplicate + done + dead + waiting."""
    with database.connect() as connection:
        found = counts.by_number(connection)[number]
    assert found.received == found.duplicate + found.done + found.dead + found.waiting
    assert found.received > 0


@pytest.fixture
def waypost(database_url: str) -> Waypost:
    """Returns a function that runs `waypost …` on the test's database. By default, there is no Redis."""

    def run(*arguments: str, redis: str = "unix:///nowhere/redis.sock") -> Result:
        return CliRunner().invoke(
            app,
            arguments,
            env={"WAYPOST_DATABASE_URL": database_url, "WAYPOST_REDIS_URL": redis},
            catch_exceptions=False,
        )

    return run


def test_the_list_shows_reasons_but_no_contacts_and_texts(database: Engine, waypost: Waypost) -> None:
    """The list shows reasons, but no contacts and no texts, because events are personal data."""
    store(database, "a", "b", reason="TurnFailed")
    answer = waypost("dead", "list")

    assert "TurnFailed" in answer.stdout
    assert "2 of 2" in answer.stdout
    assert "canary" not in answer.stdout
    assert "393331234567" not in answer.stdout


def test_the_list_can_be_printed_as_json(database: Engine, waypost: Waypost) -> None:
    """The list can be printed as JSON. Standard output contains nothing but JSON, even if there are no events."""
    assert json.loads(waypost("dead", "list", "--json").stdout) == []
    ids = store(database, "a")

    found = json.loads(waypost("dead", "list", "--json").stdout)
    assert [(event["id"], event["reason"], event["kind"]) for event in found] == [(ids[0], "InvalidItem", "message")]


def test_one_event_is_shown_with_where_it_failed(database: Engine, waypost: Waypost) -> None:
    """`dead show` names the files and lines of the bot's code where an event failed.

    The author of the bot then does not need to search the log.
    """
    (event_id,) = store(database, "a", reason="KeyError")
    with database.begin() as connection:
        connection.execute(text("UPDATE event SET detail = 'booking:41 in turn; booking.prices:7 in price'"))
    answer = waypost("dead", "show", str(event_id))
    for words in ("KeyError", "booking:41 in turn", "booking.prices:7 in price"):
        assert words in answer.stdout
    assert "canary" not in answer.stdout
    shown = json.loads(waypost("dead", "show", str(event_id), "--json").stdout)
    assert (shown["id"], shown["detail"]) == (event_id, "booking:41 in turn; booking.prices:7 in price")


def test_an_event_that_is_not_dead_cannot_be_shown(database: Engine, waypost: Waypost) -> None:
    """An id that belongs to no dead event ends the command with a sentence and exit status 2."""
    store(database, "a")
    answer = waypost("dead", "show", "999999")
    assert answer.exit_code == 2
    assert "not a dead event" in answer.stderr


def test_a_replayed_event_waits_again_with_all_its_attempts(database: Engine, waypost: Waypost) -> None:
    """A replayed event is like an event that has just arrived. It counts as waiting and has no attempts yet."""
    ids = store(database, "a", "b")
    with database.begin() as connection:
        connection.execute(text("UPDATE event SET attempts = 3"))
    answer = waypost("dead", "replay", str(ids[0]))

    assert answer.stdout == "1 replayed\n"
    assert states(database) == {"a": "waiting", "b": "dead"}
    with database.connect() as connection:
        row = connection.execute(text("SELECT attempts, reason, finished_at FROM event WHERE event_key = 'a'")).one()
    assert tuple(row) == (0, None, None)
    assert_counts_add_up(database)


def test_a_replay_wakes_the_lanes_at_once(database: Engine, waypost: Waypost, redis_server: EmbeddedRedis) -> None:
    """A replay wakes the lanes at once. The replayed event does not have to wait for the sweeper."""
    ids = store(database, "a")
    waypost("dead", "replay", str(ids[0]), redis=redis_server.url)

    with redis_server.client() as client:
        assert len(job.queue(client)) == 1


def test_a_replay_needs_no_redis(database: Engine, waypost: Waypost) -> None:
    """A replay works without Redis. The sweeper then finds the replayed events."""
    ids = store(database, "a")
    answer = waypost("dead", "replay", str(ids[0]))

    assert answer.exit_code == 0
    assert "Redis cannot be reached" in answer.stderr


def test_a_dropped_event_is_done_and_counted(database: Engine, waypost: Waypost) -> None:
    """A dropped event is done. The count `done` grows in the same transaction."""
    ids = store(database, "a", "b")
    answer = waypost("dead", "drop", str(ids[1]), "--json")

    assert json.loads(answer.stdout) == {"dropped": 1}
    assert states(database) == {"a": "dead", "b": "done"}
    assert_counts_add_up(database)


def test_only_selected_events_are_changed(database: Engine, waypost: Waypost) -> None:
    """Only events with the selected reason are dropped. Events with another reason stay dead."""
    store(database, "a", "b", reason="TurnFailed")
    store(database, "c", reason="InvalidItem")
    waypost("dead", "drop", "--reason", "TurnFailed")

    assert states(database) == {"a": "done", "b": "done", "c": "dead"}
    assert_counts_add_up(database)


def test_an_unknown_number_is_a_usage_error(waypost: Waypost) -> None:
    """An unknown number is a usage error. The answer must not look as if there was nothing to do."""
    answer = waypost("dead", "replay", "--number", "team-a/nowhere")

    assert answer.exit_code == 2
    assert "no number team-a/nowhere" in answer.stderr


def test_a_mistyped_id_changes_nothing(database: Engine, waypost: Waypost) -> None:
    """A command with a mistyped id changes nothing. The whole command is refused, although the other ids are right."""
    ids = store(database, "a")
    answer = waypost("dead", "drop", str(ids[0]), "999999")

    assert answer.exit_code == 2
    assert "not a dead event: 999999; nothing was changed" in answer.stderr
    assert states(database) == {"a": "dead"}


@pytest.mark.parametrize("verb", ["replay", "drop"])
def test_a_command_without_a_selection_changes_nothing(database: Engine, waypost: Waypost, verb: str) -> None:
    """A command without a selection changes nothing. A bare `waypost dead drop` must not drop everything."""
    store(database, "a")
    answer = waypost("dead", verb)

    assert answer.exit_code == 2
    assert "--all" in answer.stderr
    assert states(database) == {"a": "dead"}


def test_more_than_one_batch_is_replayed_to_the_last(database: Engine, waypost: Waypost) -> None:
    """All selected events are replayed, even if they need more than one batch.

    Each transaction locks at most 500 rows. The command prints the total.
    """
    store(database, *(f"key-{number}" for number in range(1201)))
    answer = waypost("dead", "replay", "--all")

    assert answer.stdout == "1201 replayed\n"
    assert set(states(database).values()) == {"waiting"}
    assert_counts_add_up(database)


def test_a_waiting_or_done_event_cannot_be_dropped(database: Engine) -> None:
    """A waiting event cannot be dropped. Only dead events can be dropped."""
    ids = store(database, "a")
    with database.begin() as connection:
        dead.replay(connection, Selection(tuple(ids)), limit=10)
        assert dead.drop(connection, Selection(tuple(ids)), limit=10) == []

    assert states(database) == {"a": "waiting"}


def test_a_replay_makes_the_holder_of_the_lane_look_again(database: Engine) -> None:
    """A replay makes the holder of the lane look for events again.

    Otherwise, a drain that is about to end would leave the event to the sweeper.
    """
    ids = store(database, "a")
    with database.begin() as connection:
        before = connection.execute(text("SELECT sum(requested) FROM lane")).scalar_one()
        dead.replay(connection, Selection(tuple(ids)), limit=10)
        after = connection.execute(text("SELECT sum(requested) FROM lane")).scalar_one()

    assert after == before + 1


def test_sends_that_failed_or_are_unknown_are_listed(database: Engine, waypost: Waypost) -> None:
    """`waypost dead list --sends` lists sends that failed and sends whose outcome is unknown.

    The list shows the code and the reason, but no recipient and no text.
    """
    with database.begin() as connection:
        connection.execute(
            text("""
                WITH person AS (
                    INSERT INTO contact (number_id, wa_id) VALUES ('1', '393331234567') RETURNING id
                ), talk AS (
                    INSERT INTO conversation (number_id, contact_id, lane) SELECT '1', id, 0 FROM person RETURNING id
                )
                INSERT INTO outbox (number_id, conversation_id, body, state, reason, error_code)
                SELECT '1', talk.id, '{"type": "text", "text": {"body": "canary"}}', state, reason, code
                FROM talk, (VALUES ('unknown', 'ClaimExpired', NULL), ('failed', 'OutsideWindow', 131047),
                    ('sent', NULL, NULL)) AS ended (state, reason, code)
            """)
        )
    answer = waypost("dead", "list", "--sends")

    assert "ClaimExpired" in answer.stdout
    assert "131047" in answer.stdout
    assert answer.stdout.count("\n") == 4
    assert "canary" not in answer.stdout
    assert "393331234567" not in answer.stdout
