"""Builds and reads the conditions in an object's status.

There is one condition of each type. Its transition time changes only when its status changes.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason

LONGEST_MESSAGE = 1024
"""Longest message of a condition, in characters. Kubernetes allows 32,768, but the API server stores each message for
every object."""


@dataclass(frozen=True)
class Condition:
    """A condition without its time and generation, which `merged` adds.

    The types and reasons are in `contracts/condition_types.py`.
    """

    type: str
    status: ConditionStatus
    reason: str
    """One word in CamelCase, which programs may rely on."""
    message: str = ""
    """Sentences for people: the state and, if only a person can change it, what to do."""


NOT_RECONCILING = Condition(ConditionType.RECONCILING, ConditionStatus.FALSE, Reason.NOT_RECONCILING)
NOT_STALLED = Condition(ConditionType.STALLED, ConditionStatus.FALSE, Reason.NOT_STALLED)


def timestamp(now: float) -> str:
    """Returns a time (seconds since 1970) as RFC 3339 in UTC, as Kubernetes writes it."""
    return datetime.datetime.fromtimestamp(int(now), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(written: str | None) -> float | None:
    """Returns the seconds since 1970 for a time that `timestamp` wrote.

    Returns None for any other value, because a status may contain anything.
    """
    if not isinstance(written, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(written)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None


def merged(
    previous: Sequence[dict[str, Any]] | None, found: Iterable[Condition], *, generation: int, now: float
) -> list[dict[str, Any]]:
    """Returns the conditions to write into the status, in the order of `found`. Types that `found` lacks are dropped.

    A condition whose status has not changed keeps its `lastTransitionTime`. If no condition changes, the list
    therefore stays the same.
    """
    by_type = {each.get("type"): each for each in previous or () if isinstance(each, dict)}
    written = []
    for condition in found:
        before = by_type.get(condition.type, {})
        moved = before.get("status") != condition.status or seconds(before.get("lastTransitionTime")) is None
        written.append(
            {
                "type": str(condition.type),
                "status": str(condition.status),
                "observedGeneration": generation,
                "lastTransitionTime": timestamp(now) if moved else before["lastTransitionTime"],
                "reason": str(condition.reason),
                "message": condition.message[:LONGEST_MESSAGE],
            }
        )
    return written


def find(status: Mapping[str, Any] | None, type_: str) -> dict[str, Any] | None:
    """Returns the condition of type `type_` in a status, or None."""
    for each in (status or {}).get("conditions") or ():
        if isinstance(each, dict) and each.get("type") == type_:
            return each
    return None


def status_of(condition: Mapping[str, Any] | None) -> ConditionStatus:
    """Returns the status of a condition from an object. Returns `UNKNOWN` if the condition is missing or malformed."""
    written: Any = (condition or {}).get("status")
    try:
        return ConditionStatus(written)
    except ValueError:
        return ConditionStatus.UNKNOWN


def is_true(status: Mapping[str, Any] | None, type_: str) -> bool:
    """Returns whether the status has a condition of type `type_` that is true."""
    return status_of(find(status, type_)) is ConditionStatus.TRUE


def reason_of(status: Mapping[str, Any] | None, type_: str) -> str:
    """Returns the reason of the condition of type `type_`, or an empty string if there is no such condition."""
    return str((find(status, type_) or {}).get("reason") or "")


def changed(previous: Sequence[dict[str, Any]] | None, now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the conditions whose status or reason changed.

    Such a change deserves a Kubernetes Event. A change of only the message does not.
    """
    before = {each.get("type"): (each.get("status"), each.get("reason")) for each in previous or ()}
    return [each for each in now if before.get(each["type"]) != (each["status"], each["reason"])]
