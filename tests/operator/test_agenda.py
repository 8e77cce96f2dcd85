"""Tests how the agenda decides which object is next, and when. They need no threads, tasks or clock."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.operator.engine.agenda import SPACING_S, Agenda
from waypost.operator.engine.object_cache import Key

A: Key = ("WhatsAppNumber", "team-a", "a")
B: Key = ("WhatsAppNumber", "team-a", "b")


def taken(agenda: Agenda, now: float) -> list[Key]:
    """Takes all objects that are due at that time. All of them then count as running."""
    keys = []
    while (due := agenda.take(now)) is not None:
        keys.append(due.key)
    return keys


@pytest.fixture
def agenda() -> Agenda:
    """Returns an empty agenda."""
    return Agenda()


def test_many_requests_for_an_object_are_one_reconcile(agenda: Agenda) -> None:
    """Many requests for one object cause one reconcile, so ten events cost as much as one."""
    for _ in range(10):
        agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 1.0) == [A]


def test_no_object_is_taken_before_its_time(agenda: Agenda) -> None:
    """An object is not taken before its time, so a resync is never early."""
    agenda.add(A, 5.0, urgent=False)
    assert taken(agenda, 4.9) == []
    assert agenda.next_at() == 5.0
    assert taken(agenda, 5.0) == [A]


def test_the_earlier_of_two_requests_counts(agenda: Agenda) -> None:
    """A change brings a planned resync forward. A later request does not delay it again."""
    agenda.add(A, 300.0, urgent=False)
    agenda.add(A, 1.0, urgent=True)
    agenda.add(A, 200.0, urgent=False)
    assert taken(agenda, 1.0) == [A]


def test_changes_go_before_resyncs(agenda: Agenda) -> None:
    """Changes are taken before resyncs, so a backlog of resyncs does not delay what a user has just applied."""
    agenda.add(A, 1.0, urgent=False)
    agenda.add(B, 2.0, urgent=True)
    assert taken(agenda, 3.0) == [B, A]


def test_an_object_does_not_run_twice_at_a_time(agenda: Agenda) -> None:
    """A request for an object that is being reconciled causes another reconcile afterwards."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 100.0) == []
    agenda.done(A, 100.0, again_at=None)
    assert taken(agenda, 100.0 + SPACING_S) == [A]


def test_two_reconciles_of_an_object_have_a_pause_between_them(agenda: Agenda) -> None:
    """There is a pause between two reconciles of an object, so no object can keep the operator busy all the time."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.done(A, 1.0, again_at=1.0)
    agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 1.0 + SPACING_S / 2) == []
    assert taken(agenda, 1.0 + SPACING_S) == [A]


def test_a_forgotten_object_is_not_reconciled_again(agenda: Agenda) -> None:
    """An object that was deleted is not reconciled again, whether it was planned or running at that time."""
    agenda.add(A, 1.0, urgent=True)
    agenda.add(B, 1.0, urgent=True)
    agenda.forget(B)
    assert taken(agenda, 1.0) == [A]
    agenda.forget(A)
    agenda.done(A, 2.0, again_at=3.0)
    assert agenda.next_at() is None


def test_an_object_created_again_while_the_old_one_ends_is_not_lost(agenda: Agenda) -> None:
    """An object that is deleted and created again during one reconcile is reconciled afterwards."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.forget(A)
    agenda.add(A, 2.0, urgent=True)
    agenda.done(A, 3.0, again_at=None)
    assert taken(agenda, 10.0) == [A]


def test_objects_that_are_due_and_do_not_run_are_counted(agenda: Agenda) -> None:
    """Objects that are due and do not run count as overdue. Running objects and objects planned for later do not."""
    agenda.add(A, 1.0, urgent=True)
    agenda.add(B, 9.0, urgent=True)
    assert agenda.overdue(5.0) == 1
    taken(agenda, 5.0)
    assert agenda.overdue(5.0) == 0


KEYS = st.sampled_from([("WhatsAppNumber", "team-a", name) for name in "abc"])


class Add(NamedTuple):
    """A step that asks for a reconcile of an object in `after_s` seconds."""

    key: Key
    after_s: float
    urgent: bool


class Take(NamedTuple):
    """A step in which `after_s` seconds pass, and then an object is taken."""

    after_s: float


class Done(NamedTuple):
    """A step in which the reconcile of an object ends, if one is running."""

    key: Key


class Forget(NamedTuple):
    """A step in which an object is deleted."""

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
    """At the end, the agenda and a simple model agree on the objects that are still requested.

    The model only remembers which objects were requested and not taken since. No object runs twice at a time.
    """
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
