"""Conditions change only when the state does, and an invalid status in the cluster does no harm."""

import pytest

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api import conditions
from waypost.operator.api.conditions import Condition

TRUE, FALSE, _ = ConditionStatus
READY = Condition(ConditionType.READY, TRUE, Reason.AS_DESIRED, "fine")


def test_an_unchanged_state_is_an_unchanged_list() -> None:
    """When the same conditions are merged later, the list stays the same, so nothing is written."""
    first = conditions.merged(None, [READY], generation=3, now=1_000.0)
    assert conditions.merged(first, [READY], generation=3, now=2_000.0) == first


def test_the_transition_time_moves_with_the_status_only() -> None:
    """The transition time changes with the status of a condition, but not with its reason."""
    first = conditions.merged(None, [READY], generation=1, now=0.0)
    reason = conditions.merged(first, [Condition(ConditionType.READY, TRUE, Reason.SUSPENDED)], generation=2, now=60.0)
    status = conditions.merged(
        reason, [Condition(ConditionType.READY, FALSE, Reason.SUSPENDED)], generation=2, now=120.0
    )
    times = [each[0]["lastTransitionTime"] for each in (first, reason, status)]
    assert times == ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:02:00Z"]


def test_each_condition_has_the_generation_of_its_reconcile() -> None:
    """`observedGeneration` is the generation of the last reconcile, not of the last transition."""
    first = conditions.merged(None, [READY], generation=1, now=0.0)
    assert conditions.merged(first, [READY], generation=2, now=60.0)[0]["observedGeneration"] == 2


def test_types_that_no_longer_apply_are_dropped() -> None:
    """A condition that is not reported any more is removed from the status."""
    first = conditions.merged(
        None, [READY, Condition(ConditionType.BOT_LOADED, TRUE, Reason.LOADED)], generation=1, now=0.0
    )
    assert [each["type"] for each in conditions.merged(first, [READY], generation=1, now=1.0)] == [ConditionType.READY]


@pytest.mark.parametrize(
    "broken",
    [
        ["text"],
        [{"type": ConditionType.READY}],
        [{"type": ConditionType.READY, "status": TRUE, "lastTransitionTime": "soon"}],
    ],
)
def test_an_invalid_status_is_replaced(broken: list[object]) -> None:
    """An invalid list of conditions in the cluster is replaced by a valid one."""
    merged = conditions.merged(broken, [READY], generation=1, now=5.0)  # type: ignore[arg-type]
    assert merged[0]["lastTransitionTime"] == "1970-01-01T00:00:05Z"


def test_a_new_message_alone_is_no_change() -> None:
    """A new message does not count as a change, because a message may count down days.

    Events are posted only for a change of status or reason.
    """
    first = conditions.merged(None, [READY], generation=1, now=0.0)
    reworded = conditions.merged(
        first, [Condition(ConditionType.READY, TRUE, Reason.AS_DESIRED, "other")], generation=1, now=1.0
    )
    assert conditions.changed(first, reworded) == []
    assert [each["type"] for each in conditions.changed(None, reworded)] == [ConditionType.READY]
