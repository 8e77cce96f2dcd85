"""Tests that create a thousand numbers and a thousand schedules at once while the operator runs."""

import sys
from collections.abc import Callable

import pytest

from .crowd import COUNT, Crowd

pytestmark = pytest.mark.timeout(1800)

MOST_MEGABYTES = 200


@pytest.mark.fault("K4")
def test_a_thousand_numbers_and_schedules_become_ready(
    crowd: Crowd, capsys: pytest.CaptureFixture[str], figure: Callable[..., None]
) -> None:
    """A thousand numbers and schedules become ready.

    For this the operator needs at most 200 MB of memory, and it does not restart.
    """
    megabytes = crowd.megabytes()
    figures = (
        f"{COUNT} numbers and {COUNT} schedules created in {crowd.created_s:.0f} s, ready after {crowd.ready_s:.0f} s; "
        f"operator at most {megabytes:.0f} MB"
    )
    with capsys.disabled():
        sys.stdout.write(f"\nfigures: {figures}\n")
    figure("all ready after", crowd.ready_s, "s", aim="at most 120 s")
    figure("memory of the operator", megabytes, "MB", aim=f"at most {MOST_MEGABYTES} MB")
    assert crowd.are_ready()
    assert megabytes <= MOST_MEGABYTES
    assert crowd.installed.pods("operator") == [crowd.operator]
    assert crowd.installed.restarts(crowd.operator) == 0
