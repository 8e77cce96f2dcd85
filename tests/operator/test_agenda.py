"""The agenda decides which object is next, and when: without threads, tasks or a clock."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.operator.engine.agenda import SPACING_S, Agenda
from waypost.operator.engine.object_cache import Key

A: Key = ("WhatsAppNumber", "team-a", "a")
B: Key = ("WhatsAppNumber", "team-a", "b")


def taken(agenda: Agenda, now: float) -> list[Key]:
    """Takes all objects that are due at that time; all of them then run."""
    keys = []
    while (due := agenda.take(now)) is not None:
        keys.append(due.key)
    return keys


@pytest.fixture
def agenda() -> Agenda:
    """Returns an empty agenda."""
    return Agenda()


def test_many_requests_for_an_object_are_one_reconcile(agenda: Agenda) -> None:
    """Ten events of one object cost as much as one."""
    for _ in range(10):
        agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 1.0) == [A]


def test_no_object_is_taken_before_its_time(agenda: Agenda) -> None:
    """A resync is not early."""
    agenda.add(A, 5.0, urgent=False)
    assert taken(agenda, 4.9) == []
    assert agenda.next_at() == 5.0
    assert taken(agenda, 5.0) == [A]


def test_the_earlier_of_two_requests_counts(agenda: Agenda) -> None:
    """A change brings a planned resync forward; a later request does not push it back."""
    agenda.add(A, 300.0, urgent=False)
    agenda.add(A, 1.0, urgent=True)
    agenda.add(A, 200.0, urgent=False)
    assert taken(agenda, 1.0) == [A]


def test_changes_go_before_resyncs(agenda: Agenda) -> None:
    """A backlog of resyncs does not delay what a user has just applied."""
    agenda.add(A, 1.0, urgent=False)
    agenda.add(B, 2.0, urgent=True)
    assert taken(agenda, 3.0) == [B, A]


def test_an_object_does_not_run_twice_at_a_time(agenda: Agenda) -> None:
    """A request that comes while it runs is met afterwards."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 100.0) == []
    agenda.done(A, 100.0, again_at=None)
    assert taken(agenda, 100.0 + SPACING_S) == [A]


def test_two_reconciles_of_an_object_have_a_pause_between_them(agenda: Agenda) -> None:
    """Whatever goes wrong, no object keeps the operator busy."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.done(A, 1.0, again_at=1.0)
    agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 1.0 + SPACING_S / 2) == []
    assert taken(agenda, 1.0 + SPACING_S) == [A]


def test_a_forgotten_object_is_not_reconciled_again(agenda: Agenda) -> None:
    """It was deleted, while it was planned or while it ran."""
    agenda.add(A, 1.0, urgent=True)
    agenda.add(B, 1.0, urgent=True)
    agenda.forget(B)
    assert taken(agenda, 1.0) == [A]
    agenda.forget(A)
    agenda.done(A, 2.0, again_at=3.0)
    assert agenda.next_at() is None


def test_an_object_created_again_while_the_old_one_ends_is_not_lost(agenda: Agenda) -> None:
    """It was deleted and created under the same name within one reconcile."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.forget(A)
    agenda.add(A, 2.0, urgent=True)
    agenda.done(A, 3.0, again_at=None)
    assert taken(agenda, 10.0) == [A]


def test_objects_that_are_due_and_do_not_run_are_counted(agenda: Agenda) -> None:
    """Objects that are planned for later or run are not waiting."""
    agenda.add(A, 1.0, urgent=True)
    agenda.add(B, 9.0, urgent=True)
    assert agenda.overdue(5.0) == 1
    taken(agenda, 5.0)
    assert agenda.overdue(5.0) == 0


KEYS = st.sampled_from([("WhatsAppNumber", "team-a", name) for name in "abc"])


class Add(NamedTuple):
    """Asks for a reconcile in some seconds."""

    key: Key
    after_s: float
    urgent: bool


class Take(NamedTuple):
    """Some seconds pass, then an object is taken."""

    after_s: float


class Done(NamedTuple):
    """A reconcile ends, if one of that object runs."""

    key: Key


class Forget(NamedTuple):
    """The object is gone."""

    key: Key


Step = Add | Take | Done | Forget
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(Add, KEYS, st.floats(0, 10), st.booleans()),
        st.builds(Take, st.floats(0, 3)),
        st.builds(Done, KEYS),
        st.builds(Forget, KEYS),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_request_is_met_and_no_object_runs_twice_at_a_time(steps: list[Step]) -> None:
    """A model that only remembers what was asked for and not taken since agrees at the end."""
    agenda, now = Agenda(), 0.0
    running: set[Key] = set()
    requested: set[Key] = set()
    for step in steps:
        match step:
            case Add(key, after_s, urgent):
                agenda.add(key, now + after_s, urgent=urgent)
                requested.add(key)
            case Forget(key):
                agenda.forget(key)
                requested.discard(key)
            case Take(after_s):
                now += after_s
                if (due := agenda.take(now)) is not None:
                    assert due.key not in running
                    assert due.due_at <= now
                    running.add(due.key)
                    requested.discard(due.key)
            case Done(key):
                if key in running:
                    running.discard(key)
                    agenda.done(key, now, again_at=None)
    for key in running:
        agenda.done(key, now, again_at=None)
    assert set(taken(agenda, now + 1000)) == requested
