"""What comes next, and when: without threads, tasks or a clock."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.operator.engine.agenda import SPACING_S, Agenda
from waypost.operator.engine.object_cache import Key

A: Key = ("WhatsAppNumber", "team-a", "a")
B: Key = ("WhatsAppNumber", "team-a", "b")


def taken(agenda: Agenda, now: float) -> list[Key]:
    """All that is begun at that time; all of it then runs."""
    return [each.key for each in iter(lambda: agenda.take(now), None) if each is not None]


@pytest.fixture
def agenda() -> Agenda:
    """An empty one."""
    return Agenda()


def test_what_is_asked_for_often_is_done_once(agenda: Agenda) -> None:
    """Ten events of one object are one reconcile."""
    for _ in range(10):
        agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 1.0) == [A]


def test_nothing_begins_before_its_time(agenda: Agenda) -> None:
    """A resync is due when it is due."""
    agenda.add(A, 5.0, urgent=False)
    assert taken(agenda, 4.9) == []
    assert agenda.next_at() == 5.0
    assert taken(agenda, 5.0) == [A]


def test_the_earlier_of_two_wishes_counts(agenda: Agenda) -> None:
    """A change brings a planned resync forward; a later wish does not push it back."""
    agenda.add(A, 300.0, urgent=False)
    agenda.add(A, 1.0, urgent=True)
    agenda.add(A, 200.0, urgent=False)
    assert taken(agenda, 1.0) == [A]


def test_changes_go_before_resyncs(agenda: Agenda) -> None:
    """A backlog of resyncs does not delay what a user has just applied."""
    agenda.add(A, 1.0, urgent=False)
    agenda.add(B, 2.0, urgent=True)
    assert taken(agenda, 3.0) == [B, A]


def test_an_object_is_not_begun_twice(agenda: Agenda) -> None:
    """What is asked for while it runs comes after it."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 100.0) == []
    agenda.done(A, 100.0, again_at=None)
    assert taken(agenda, 100.0 + SPACING_S) == [A]


def test_the_same_object_leaves_a_pause_between_two_reconciles(agenda: Agenda) -> None:
    """Whatever goes wrong, no object makes a hot loop."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.done(A, 1.0, again_at=1.0)
    agenda.add(A, 1.0, urgent=True)
    assert taken(agenda, 1.0 + SPACING_S / 2) == []
    assert taken(agenda, 1.0 + SPACING_S) == [A]


def test_a_forgotten_object_does_not_come_again(agenda: Agenda) -> None:
    """It was deleted: neither planned nor running does it come back by itself."""
    agenda.add(A, 1.0, urgent=True)
    agenda.add(B, 1.0, urgent=True)
    agenda.forget(B)
    assert taken(agenda, 1.0) == [A]
    agenda.forget(A)
    agenda.done(A, 2.0, again_at=3.0)
    assert agenda.next_at() is None


def test_one_that_is_made_again_while_the_old_one_ends_is_not_lost(agenda: Agenda) -> None:
    """Deleted and created under the same name within one reconcile."""
    agenda.add(A, 1.0, urgent=True)
    taken(agenda, 1.0)
    agenda.forget(A)
    agenda.add(A, 2.0, urgent=True)
    agenda.done(A, 3.0, again_at=None)
    assert taken(agenda, 10.0) == [A]


def test_what_waits_is_counted(agenda: Agenda) -> None:
    """Planned for later, or running, is not waiting."""
    agenda.add(A, 1.0, urgent=True)
    agenda.add(B, 9.0, urgent=True)
    assert agenda.overdue(5.0) == 1
    taken(agenda, 5.0)
    assert agenda.overdue(5.0) == 0


KEYS = [("WhatsAppNumber", "team-a", name) for name in "abc"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(KEYS), st.floats(0, 10), st.booleans()),
        st.tuples(st.just("take"), st.just(None), st.floats(0, 3), st.just(None)),
        st.tuples(st.just("done"), st.sampled_from(KEYS), st.floats(0, 10) | st.none(), st.just(None)),
        st.tuples(st.just("forget"), st.sampled_from(KEYS), st.just(None), st.just(None)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_each_wish_is_met_and_no_object_runs_twice(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    """A model that only remembers what was wished for and not taken since agrees at the end."""
    agenda, running, wished, now = Agenda(), set(), set(), 0.0
    for what, key, number, urgent in steps:
        if what == "add":
            agenda.add(key, now + number, urgent=urgent)
            wished.add(key)
        elif what == "forget":
            agenda.forget(key)
            wished.discard(key)
        elif what == "take":
            now += number
            if (item := agenda.take(now)) is not None:
                assert item.key not in running
                assert item.due_at <= now
                running.add(item.key)
                wished.discard(item.key)
        elif key in running:
            running.discard(key)
            agenda.done(key, now, again_at=None)
    for key in running:
        agenda.done(key, now, again_at=None)
    assert set(_drained(agenda, now + 1000)) == wished


def _drained(agenda: Agenda, now: float) -> Iterator[Key]:
    while (item := agenda.take(now)) is not None:
        yield item.key
