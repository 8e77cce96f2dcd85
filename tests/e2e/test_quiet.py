"""What the operator writes while nobody asks it for anything."""

import pytest

from .crowd import Crowd

pytestmark = pytest.mark.timeout(1800)

QUIET_S = 60


def test_nothing_is_written_of_a_thousand_numbers_and_schedules_that_are_as_they_should_be(crowd: Crowd) -> None:
    """In a minute or longer in which messages may flow, but no object is touched."""
    crowd.installed.wait(lambda: crowd.watched_s() >= QUIET_S, what="a minute to have passed")

    assert crowd.changes() == 0
    assert crowd.installed.restarts(crowd.operator) == 0
