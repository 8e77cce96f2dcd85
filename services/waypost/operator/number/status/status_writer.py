"""Writes what is so into a number's status, where it changed, and tells changes as Events."""

from collections.abc import Callable, Mapping
from typing import Any

from waypost.operator.api.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import Condition, changed, find, seconds
from waypost.operator.api.kinds import NUMBER
from waypost.operator.cluster.interface import Cluster, ClusterConflict
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.number import registration
from waypost.operator.number.status import compose as statuses
from waypost.operator.number.subject import Subject

SHORTEST_WAIT_S = 0.1
_PROGRESS = (ConditionType.RECONCILING, ConditionType.STALLED)


class Teller:
    """Of all numbers of one operator."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float], *, route_poll_s: float) -> None:
        self._cluster = cluster
        self._clock = clock
        self._route_poll_s = route_poll_s

    async def end(
        self,
        subject: Subject,
        conditions: tuple[Condition, ...],
        outcome: Outcome,
        news: Mapping[str, Any] | None = None,
        *,
        keep_times: bool = False,
        again_in_s: float | None = None,
        at_least_s: float = 0.0,
    ) -> Result:
        """Write the status if it changed, and say when to come again.

        `keep_times`: no attempt was made, so neither failures nor the next attempt move. `at_least_s`: how long the
        next attempt must wait. Raises `ClusterError`.
        """
        now, before = self._clock(), subject.status
        failures = int(before.get("failureCount") or 0)
        next_attempt = seconds(before.get("nextAttemptTime"))
        if not keep_times:
            failures = failures + 1 if outcome is Outcome.FAILED else 0
            wait = statuses.retry_s(outcome, failures, subject.metadata.uid)
            next_attempt = now + max(wait, at_least_s) if wait is not None else None
        whole = statuses.status(
            before,
            conditions,
            generation=subject.metadata.generation,
            now=now,
            found=news,
            failures=failures,
            next_attempt=next_attempt,
            registration=registration.read(before),
        )
        if whole != before:
            await self.write(subject, whole)
            await self._tell_changes(subject, before, whole)
        if subject.ready_reason == Reason.WAITING_FOR_WEBHOOK:
            return Result(self._route_poll_s, outcome)
        waits = [each for each in (again_in_s, next_attempt - now if next_attempt else None) if each is not None]
        return Result(max(SHORTEST_WAIT_S, min(waits)) if waits else None, outcome)

    async def write(self, subject: Subject, status: Mapping[str, Any]) -> None:
        """Onto the object as it is now, for only its spec is somebody else's. Raises `ClusterError`."""
        try:
            subject.manifest = await self._cluster.write_status(subject.manifest, dict(status))
        except ClusterConflict:
            metadata = subject.metadata
            fresh = await self._cluster.read(NUMBER, metadata.namespace, metadata.name)
            if fresh is None or fresh["metadata"].get("uid") != metadata.uid:
                raise
            subject.manifest = await self._cluster.write_status(fresh, dict(status))

    async def _tell_changes(self, subject: Subject, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """An Event for each side that changed; what is well at the first look is no news, but for the summary."""
        for each in changed(before.get("conditions"), after["conditions"]):
            is_first = find(before, each["type"]) is None
            if each["status"] == ConditionStatus.UNKNOWN or each["type"] in _PROGRESS:
                continue
            is_true = each["status"] == ConditionStatus.TRUE
            if is_first and is_true:
                continue
            is_summary = each["type"] == ConditionType.READY
            message = each["message"] if is_summary else f"{each['type']}: {each['message']}"
            await self._cluster.emit(
                subject.manifest,
                type="Normal" if is_true else "Warning",
                reason=each["reason"],
                message=message,
            )
