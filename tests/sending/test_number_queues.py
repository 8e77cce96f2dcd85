"""The queues of conversations that wait for their number, and the room that a number has."""

from hypothesis import given
from hypothesis import strategies as st

from waypost.sending.number_queues import NumberQueues


def test_a_number_alone_leaves_a_quarter_of_the_slots_free() -> None:
    """The next number must find room, even if this one's calls hang."""
    queues = NumberQueues(100)
    for _ in range(75):
        assert queues.room("a") > 0
        queues.started("a")
    assert queues.room("a") == 0
    assert queues.room("b") == 19


@given(hanging=st.integers(1, 40))
def test_every_number_finds_at_least_one_slot_however_many_hang(hanging: int) -> None:
    """Numbers that take all the slots that they may have do not stop another one."""
    queues = NumberQueues(20)
    for number in range(hanging):
        while queues.room(str(number)) > 0:
            queues.started(str(number))
    assert queues.room("healthy") >= 1


def test_replies_are_released_before_bulk_and_each_in_order() -> None:
    """Within each class, the conversation that has waited longest goes first."""
    queues = NumberQueues(100)
    queues.add("a", 1, bulk=True)
    queues.add("a", 2, bulk=False)
    queues.add("a", 3, bulk=True)
    queues.add("a", 4, bulk=False)
    assert queues.release(0.0, lambda _: 1000.0) == [2, 4, 1, 3]
    assert len(queues) == 0


def test_a_number_that_was_too_fast_is_released_slowly_and_not_too_early() -> None:
    """A long backlog must not be looked up again for each message that may go out."""
    queues = NumberQueues(100)
    for conversation in range(50):
        queues.add("a", conversation, bulk=True)
    queues.busy_until("a", 5.0)
    assert queues.next_release() == 5.0
    assert queues.release(4.9, lambda _: 80.0) == []
    assert queues.release(5.0, lambda _: 80.0) == list(range(8))


def test_a_number_without_room_waits_for_a_call_to_end() -> None:
    """`next_release` then names no moment, so that the sender does not spin."""
    queues = NumberQueues(1)
    queues.started("a")
    queues.add("a", 1, bulk=False)
    assert queues.next_release() is None
    assert queues.release(0.0, lambda _: 80.0) == []
    queues.ended("a")
    assert queues.release(0.0, lambda _: 80.0) == [1]


def test_a_conversation_is_queued_once_with_its_latest_class() -> None:
    """A reply to a conversation whose bulk message waits moves the conversation forward."""
    queues = NumberQueues(100)
    queues.add("a", 1, bulk=True)
    queues.add("a", 2, bulk=True)
    queues.add("a", 2, bulk=False)
    assert len(queues) == 2
    assert queues.release(0.0, lambda _: 1000.0) == [2, 1]


def test_a_conversation_that_the_limits_turned_away_stays_at_the_front() -> None:
    """A try that the limits did not allow does not send a conversation to the end."""
    queues = NumberQueues(100)
    queues.add("a", 1, bulk=False)
    queues.add("a", 2, bulk=False, at_front=True)
    assert queues.release(0.0, lambda _: 10.0) == [2]
