"""The state of a conversation can be read back, even if the stored value is not a valid state."""

import pytest

from waypost.bot.state import Progress, read, write


def test_a_stored_state_is_read_back() -> None:
    """A stored state is read back with every field."""
    progress = Progress("order", "kind", 1e9, 2, {"number": "A-1"}, 1, True)
    assert read(write(progress), {"number"}) == progress


def test_an_idle_conversation_has_a_small_state() -> None:
    """The state of an idle conversation is small, because default values are left out."""
    assert write(Progress()) == {"v": 1}


@pytest.mark.parametrize(
    "stored",
    [
        {},
        None,
        [],
        "nonsense",
        {"v": 2, "dialog": "order", "step": "kind"},
        {"v": True, "dialog": "order", "step": "kind"},
        {"v": 1, "dialog": "order"},
        {"v": 1, "dialog": 7, "step": "kind"},
        {"v": 1, "slots": ["number"], "missed": -3},
        {"v": 1, "slots": {"number": 5, "gone": "x"}, "opted_out": "yes"},
        {"v": 1, "missed": "many", "tries": None},
    ],
)
def test_a_state_that_cannot_be_understood_is_dropped(stored: object) -> None:
    """A state that cannot be understood becomes an empty state instead of an error.

    Examples are states with another layout, states of another script, and nonsense.
    """
    assert read(stored, {"number"}) == Progress()


@pytest.mark.parametrize("asked_at", [float("nan"), float("inf"), -1, 1e300, 10**400, True, "yesterday", None])
def test_an_impossible_time_is_no_time(asked_at: object) -> None:
    """A time that no calendar contains is read as 0. Otherwise a placeholder would fail later."""
    state = {"v": 1, "dialog": "order", "step": "kind", "asked_at": asked_at}
    assert read(state, ()).asked_at == 0.0


def test_a_stored_answer_that_is_too_long_is_cut() -> None:
    """A stored answer that is too long is cut, because the state is read and written with every message."""
    assert len(read({"v": 1, "slots": {"number": "x" * 5000}}, {"number"}).slots["number"]) == 1000
