"""Tests of a drain: order, attempts, poisonous events, crashes, and processes that continue after their lease."""

import secrets
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from waypost.lanes.drain import Drain, Limits
from waypost.lanes.handler import TurnTimeout, Unhandled
from waypost.store import counts, leases
from waypost.store.claims import WaitingEvent

from .conftest import Recorder

NO_DELAY = Limits(retry_delays_s=(0.0, 0.0))


def test_events_are_handled_in_the_order_of_metas_time_stamps(
    database: Engine, put: Callable[..., int], recorder: Recorder, effects: Callable[[], list[str]]
) -> None:
    """Events that wait together are handled in the order of Meta's time stamps, also if they arrived out of order."""
    put("third", at=30)
    put("first", at=10)
    put("second", at=20)
    assert Drain(database, recorder, owner="a").run([0]) == "emptied"
    assert effects() == ["first", "second", "third"]


def test_a_failing_event_holds_back_its_conversation_and_no_other(
    database: Engine, put: Callable[..., int], recorder: Recorder, effects: Callable[[], list[str]]
) -> None:
    """A contact's later messages wait until its failed message has had its next attempt. Other contacts do not wait."""

    def fail(event: WaitingEvent) -> None:
        if event.event_key == "bad":
            raise ValueError("not today")

    recorder.on_event = fail
    put("bad", contact="A", at=1)
    put("after bad", contact="A", at=2)
    put("other", contact="B", at=3)
    Drain(database, recorder, owner="a", limits=Limits(retry_delays_s=(200,))).run([0])
    assert effects() == ["other"]


@pytest.mark.fault("P5")
def test_a_poisonous_event_is_dead_after_three_attempts_and_its_conversation_goes_on(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    effects: Callable[[], list[str]],
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
) -> None:
    """A poisonous event is dead after three attempts, and then the next message of the conversation is handled.

    The reason of the dead event contains nothing of the message's content.
    """
    tries: list[str] = []

    def fail(event: WaitingEvent) -> None:
        tries.append(event.event_key)
        if event.event_key == "poison":
            raise ValueError("the text of a person")

    recorder.on_event = fail
    put("poison", at=1)
    put("next", at=2)
    Drain(database, recorder, owner="a", limits=NO_DELAY).run([0])
    assert tries.count("poison") == 3
    assert states()["poison"] == ("dead", 3, "ValueError")
    assert effects() == ["next"]


def test_an_event_that_can_never_be_handled_is_dead_at_once(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
) -> None:
    """An event whose handler raises `Unhandled` is dead at once, without further attempts."""

    def refuse(_event: WaitingEvent) -> None:
        raise Unhandled("Unreadable")

    recorder.on_event = refuse
    put("unreadable")
    Drain(database, recorder, owner="a").run([0])
    assert states()["unreadable"] == ("dead", 0, "Unreadable")


@pytest.mark.parametrize("raised", [TurnTimeout, SystemExit])
def test_a_turn_that_takes_too_long_or_ends_the_program_counts_as_an_attempt(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
    raised: type[BaseException],
) -> None:
    """A turn that exceeds its deadline or calls `sys.exit()` counts as an attempt.

    Neither the deadline's exception nor `SystemExit` is a subclass of `Exception`.
    """

    def end(_event: WaitingEvent) -> None:
        raise raised

    recorder.on_event = end
    put("ended")
    Drain(database, recorder, owner="a", limits=NO_DELAY).run([0])
    assert states()["ended"] == ("dead", 3, raised.__name__)


def test_effects_that_cannot_be_stored_harm_no_other_event(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    effects: Callable[[], list[str]],
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
) -> None:
    """When the database refuses a whole batch, each event is stored alone, so only the bad event becomes dead."""
    for number in range(5):
        put(f"good {number}", contact=f"C{number}", at=number)
    put("unstorable", contact="X", at=2.5)
    Drain(database, recorder, owner="a", limits=NO_DELAY).run([0])
    assert sorted(effects()) == [f"good {number}" for number in range(5)]
    assert states()["unstorable"] == ("dead", 3, "IntegrityError")


@pytest.mark.parametrize("where", ["on_begin", "on_store"])
def test_an_event_that_fails_outside_of_its_turn_is_dead_in_the_end_and_harms_no_other(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
    where: str,
) -> None:
    """An event that triggers a defect in reading or storing becomes dead, and does not block its lane for ever."""

    def fail(keys: list[str]) -> None:
        if "poison" in keys:
            raise KeyError("a phone number")

    setattr(recorder, where, fail)
    put("before", contact="A", at=1)
    put("poison", contact="B", at=2)
    put("behind", contact="B", at=3)
    Drain(database, recorder, owner="a", limits=NO_DELAY).run([0])
    assert states()["poison"] == ("dead", 3, "KeyError")
    assert states()["before"][0] == states()["behind"][0] == "done"


def test_effects_over_a_limit_of_the_database_use_up_their_events_attempts(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    effects: Callable[[], list[str]],
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
) -> None:
    """An effect that exceeds a limit of the database uses up the attempts of its event.

    If a value is too long for an index, PostgreSQL's error has the class of an outage. But its cause is the row.
    """
    with database.begin() as connection:
        connection.execute(text("CREATE INDEX ON effect (key)"))
    too_long = secrets.token_hex(8_000)

    def swell(keys: list[str]) -> None:
        keys[:] = [too_long if key == "poison" else key for key in keys]

    recorder.on_store = swell
    put("poison", contact="A", at=1)
    put("good", contact="B", at=2)
    Drain(database, recorder, owner="a", limits=NO_DELAY).run([0])
    assert states()["poison"] == ("dead", 3, "OperationalError")
    assert effects() == ["good"]


def test_a_database_without_its_tables_costs_no_event_an_attempt(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
) -> None:
    """A missing table uses up no attempt of a waiting event.

    The worker may be newer than the schema, or may have lost a right.
    """
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE effect RENAME TO gone"))
    put("innocent")
    drain = Drain(database, recorder, owner="a", limits=NO_DELAY)
    for _ in range(4):
        with pytest.raises(ProgrammingError):
            drain.run([0])
    assert states()["innocent"] == ("waiting", 0, None)
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO effect"))
    drain.run([0])
    assert states()["innocent"] == ("done", 0, None)


@pytest.mark.fault("P1")
def test_a_crash_counts_as_an_attempt_of_what_was_being_tried(
    database: Engine,
    put: Callable[..., int],
    recorder: Recorder,
    states: Callable[[], dict[str, tuple[str, int, str | None]]],
) -> None:
    """A crash counts as an attempt of the events that the process was handling.

    A process that vanishes leaves the ids of these events. The next drain counts the attempt, and handles each of
    them alone.
    """
    crashing = put("crashing", contact="A", at=1)
    put("innocent", contact="B", at=2)
    for _ in range(3):
        with database.begin() as connection:
            acquired = leases.acquire(connection, [0], "victim", ttl_s=30)
            leases.conclude(connection, acquired.leases, {0: [crashing]}, ttl_s=-1)
    Drain(database, recorder, owner="survivor").run([0])
    assert states()["crashing"] == ("dead", 3, "WorkerCrashed")
    assert states()["innocent"][0] == "done"


@pytest.mark.fault("P3")
def test_late_effects_of_a_process_that_lost_its_lease_are_refused(
    database: Engine, put: Callable[..., int], recorder: Recorder, effects: Callable[[], list[str]]
) -> None:
    """A drain that was suspended until after the end of its lease stores no effects."""
    put("once")

    def sleep_past_the_lease(_event: WaitingEvent) -> None:
        with database.begin() as connection:
            connection.execute(text("UPDATE lane SET lease_expires_at = now() - interval '1 s' WHERE lane = 0"))
            assert leases.acquire(connection, [0], "successor", ttl_s=30).leases

    recorder.on_event = sleep_past_the_lease
    assert Drain(database, recorder, owner="suspended").run([0]) == "lost"
    assert effects() == []
    assert recorder.committed == []


def test_a_lane_is_drained_by_one_process_at_a_time(
    database: Engine, put: Callable[..., int], recorder: Recorder, effects: Callable[[], list[str]]
) -> None:
    """While one drain holds a lane, a second drain cannot get it. No event is forgotten."""
    put("early", at=1)
    inside, go_on = threading.Event(), threading.Event()

    def wait(event: WaitingEvent) -> None:
        if event.event_key == "early":
            inside.set()
            assert go_on.wait(30)

    recorder.on_event = wait
    first = threading.Thread(target=Drain(database, recorder, owner="first").run, args=([0],))
    first.start()
    assert inside.wait(30)
    put("late", at=2)
    assert Drain(database, recorder, owner="second").run([0]) == "held"
    go_on.set()
    first.join()
    assert effects() == ["early", "late"]


def test_counts_hold_for_events_in_every_state(database: Engine, put: Callable[..., int], recorder: Recorder) -> None:
    """The counts of G9 are right for events in every state.

    `done` is counted in the transaction that finishes the event. `dead` and `waiting` are counted as rows.
    """

    def judge(event: WaitingEvent) -> str | None:
        if event.event_key == "dead":
            raise Unhandled("Unreadable")
        return "Recorded" if event.event_key == "recorded" else None

    recorder.on_event = judge
    for key in ("done", "dead", "recorded"):
        put(key, contact=key)
    Drain(database, recorder, owner="a").run([0])
    put("waiting")
    with database.connect() as connection:
        count = counts.by_number(connection)["100"]
    assert (count.done, count.dead, count.waiting) == (2, 1, 1)


@pytest.mark.parametrize("requested", [1, 150])
def test_a_long_lane_is_drained_in_batches(
    database: Engine, put: Callable[..., int], recorder: Recorder, effects: Callable[[], list[str]], requested: int
) -> None:
    """Every event of a lane is handled once, whether the lane needs one batch or several."""
    keys = [f"event {number:03}" for number in range(requested)]
    for at, key in enumerate(keys):
        put(key, at=at)
    Drain(database, recorder, owner="a").run([0])
    assert effects() == keys
