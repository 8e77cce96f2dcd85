"""Conditions of an object's status: one per type, and a transition time that moves only when the status does."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason

LONGEST_MESSAGE = 1024
"""Characters; Kubernetes allows 32,768, but the API server stores every one of them for every object."""


@dataclass(frozen=True)
class Condition:
    """A condition before time and generation are added. Types and reasons are in `contracts/condition_types.py`."""

    type: str
    status: ConditionStatus
    reason: str
    """A word in CamelCase, for programs."""
    message: str = ""
    """Sentences for people: the state, and what a person must do where only a person can go on."""


NOT_RECONCILING = Condition(ConditionType.RECONCILING, ConditionStatus.FALSE, Reason.NOT_RECONCILING)
NOT_STALLED = Condition(ConditionType.STALLED, ConditionStatus.FALSE, Reason.NOT_STALLED)


def timestamp(now: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, as Kubernetes writes it."""
    return datetime.datetime.fromtimestamp(int(now), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(written: str | None) -> float | None:
    """The reverse of `timestamp`; None for what is no moment, for a status is read without being trusted."""
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
    """The list to write, in the order of `found`: types that are not in it are dropped.

    A condition whose status is as before keeps its `lastTransitionTime`, so an unchanged state is an unchanged list.
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
    """The condition of that type in a status, if it is there."""
    for each in (status or {}).get("conditions") or ():
        if isinstance(each, dict) and each.get("type") == type_:
            return each
    return None


def status_of(condition: Mapping[str, Any] | None) -> ConditionStatus:
    """Returns the status that a condition was read with; `UNKNOWN` for none, and for one that is not well formed."""
    written: Any = (condition or {}).get("status")
    try:
        return ConditionStatus(written)
    except ValueError:
        return ConditionStatus.UNKNOWN


def is_true(status: Mapping[str, Any] | None, type_: str) -> bool:
    """Returns whether the condition of that type is there and true."""
    return status_of(find(status, type_)) is ConditionStatus.TRUE


def reason_of(status: Mapping[str, Any] | None, type_: str) -> str:
    """Returns the reason of the condition of that type; empty if it is not there."""
    return str((find(status, type_) or {}).get("reason") or "")


def changed(previous: Sequence[dict[str, Any]] | None, now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the conditions whose status or reason changed: worth a Kubernetes Event, unlike a new wording."""
    before = {each.get("type"): (each.get("status"), each.get("reason")) for each in previous or ()}
    return [each for each in now if before.get(each["type"]) != (each["status"], each["reason"])]
