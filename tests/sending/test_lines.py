"""Who waits for which number, and how much room a number has."""

from hypothesis import given
from hypothesis import strategies as st

from waypost.sending.lines import Lines


def test_a_number_alone_leaves_a_quarter_of_the_slots_free() -> None:
    """The next number must find room, even when this one's calls hang."""
    lines = Lines(100)
    for _ in range(75):
        assert lines.room("a") > 0
        lines.started("a")
    assert lines.room("a") == 0
    assert lines.room("b") == 19


@given(hanging=st.integers(1, 40))
def test_every_number_finds_at_least_one_slot_however_many_hang(hanging: int) -> None:
    """Numbers that take all they can get do not stop another one."""
    lines = Lines(20)
    for number in range(hanging):
        while lines.room(str(number)) > 0:
            lines.started(str(number))
    assert lines.room("healthy") >= 1


def test_replies_are_released_before_bulk_and_each_in_order() -> None:
    """Who waits longest goes first, within its class."""
    lines = Lines(100)
    lines.park("a", 1, bulk=True)
    lines.park("a", 2, bulk=False)
    lines.park("a", 3, bulk=True)
    lines.park("a", 4, bulk=False)
    assert lines.release(0.0, lambda _: 1000.0) == [2, 4, 1, 3]
    assert len(lines) == 0


def test_a_number_that_was_too_fast_is_released_slowly_and_not_too_early() -> None:
    """A long backlog must not be looked up again for each message that may go."""
    lines = Lines(100)
    for conversation in range(50):
        lines.park("a", conversation, bulk=True)
    lines.busy_until("a", 5.0)
    assert lines.next_release() == 5.0
    assert lines.release(4.9, lambda _: 80.0) == []
    assert lines.release(5.0, lambda _: 80.0) == list(range(8))


def test_a_number_without_room_waits_for_a_call_to_end() -> None:
    """No moment is named then, so that nobody spins."""
    lines = Lines(1)
    lines.started("a")
    lines.park("a", 1, bulk=False)
    assert lines.next_release() is None
    assert lines.release(0.0, lambda _: 80.0) == []
    lines.ended("a")
    assert lines.release(0.0, lambda _: 80.0) == [1]


def test_a_conversation_is_parked_once_with_its_latest_class() -> None:
    """A reply that comes to a conversation whose bulk message waits moves it up."""
    lines = Lines(100)
    lines.park("a", 1, bulk=True)
    lines.park("a", 2, bulk=True)
    lines.park("a", 2, bulk=False)
    assert len(lines) == 2
    assert lines.release(0.0, lambda _: 1000.0) == [2, 1]


def test_one_turned_away_keeps_its_place_at_the_front() -> None:
    """Being asked for in vain does not send a conversation to the end."""
    lines = Lines(100)
    lines.park("a", 1, bulk=False)
    lines.park("a", 2, bulk=False, first=True)
    assert lines.release(0.0, lambda _: 10.0) == [2]
