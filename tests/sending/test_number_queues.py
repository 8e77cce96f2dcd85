"""Tests of the queues in which conversations wait for their number, and of the slots that a number may use."""

from hypothesis import given
from hypothesis import strategies as st

from waypost.sending.number_queues import NumberQueues


def test_a_number_alone_leaves_a_quarter_of_the_slots_free() -> None:
    """One number alone leaves a quarter of the slots free.

    The next number must find room, even if all calls of the first one hang.
    """
    queues = NumberQueues(100)
    for _ in range(75):
        assert queues.room("a") > 0
        queues.started("a")
    assert queues.room("a") == 0
    assert queues.room("b") == 19


@given(hanging=st.integers(1, 40))
def test_every_number_finds_at_least_one_slot_however_many_hang(hanging: int) -> None:
    """Another number always finds a slot, even if other numbers hang in all the slots that they may use."""
    queues = NumberQueues(20)
    for number in range(hanging):
        while queues.room(str(number)) > 0:
            queues.started(str(number))
    assert queues.room("healthy") >= 1


def test_replies_are_released_before_bulk_and_each_in_order() -> None:
    """Replies are released before bulk. Within each class, the conversation that has waited longest goes first."""
    queues = NumberQueues(100)
    queues.add("a", 1, bulk=True)
    queues.add("a", 2, bulk=False)
    queues.add("a", 3, bulk=True)
    queues.add("a", 4, bulk=False)
    assert queues.release(0.0, lambda _: 1000.0) == [2, 4, 1, 3]
    assert len(queues) == 0


def test_a_number_that_was_too_fast_is_released_slowly_and_not_too_early() -> None:
    """Conversations of a number that was too fast are released slowly and not too early.

    Otherwise the sender would look up a long backlog again for each message that may go out.
    """
    queues = NumberQueues(100)
    for conversation in range(50):
        queues.add("a", conversation, bulk=True)
    queues.busy_until("a", 5.0)
    assert queues.next_release() == 5.0
    assert queues.release(4.9, lambda _: 80.0) == []
    assert queues.release(5.0, lambda _: 80.0) == list(range(8))


def test_a_number_without_room_waits_for_a_call_to_end() -> None:
    """A number without a free slot waits until one of its calls ends.

    `next_release` then returns None, so that the sender does not spin.
    """
    queues = NumberQueues(1)
    queues.started("a")
    queues.add("a", 1, bulk=False)
    assert queues.next_release() is None
    assert queues.release(0.0, lambda _: 80.0) == []
    queues.ended("a")
    assert queues.release(0.0, lambda _: 80.0) == [1]


def test_a_conversation_is_queued_once_with_its_latest_class() -> None:
    """A conversation is queued once. If its bulk message waits and a reply is added, the conversation moves forward."""
    queues = NumberQueues(100)
    queues.add("a", 1, bulk=True)
    queues.add("a", 2, bulk=True)
    queues.add("a", 2, bulk=False)
    assert len(queues) == 2
    assert queues.release(0.0, lambda _: 1000.0) == [2, 1]


def test_a_conversation_that_the_limits_turned_away_stays_at_the_front() -> None:
    """A conversation that the limits turned away stays at the front of its queue."""
    queues = NumberQueues(100)
    queues.add("a", 1, bulk=False)
    queues.add("a", 2, bulk=False, at_front=True)
    assert queues.release(0.0, lambda _: 10.0) == [2]
