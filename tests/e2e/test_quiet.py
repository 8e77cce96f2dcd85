"""The operator writes nothing while no object changes."""

import pytest

from .crowd import Crowd

pytestmark = pytest.mark.timeout(1800)

QUIET_S = 60


def test_a_thousand_ready_numbers_and_schedules_cause_no_write(crowd: Crowd) -> None:
    """The operator changes no object for at least a minute in which no object is edited.

    Messages may be sent and received in that time.
    """
    crowd.installed.wait(lambda: crowd.watched_s() >= QUIET_S, what="a minute to have passed")

    assert crowd.changes() == 0
    assert crowd.installed.restarts(crowd.operator) == 0
