"""Writes the status of a number if it changed, and emits a Kubernetes Event for each changed condition."""

from collections.abc import Callable, Mapping
from typing import Any

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import Condition, changed, find, seconds
from waypost.operator.api.kinds import NUMBER
from waypost.operator.cluster.interface import Cluster, ClusterConflict
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.number import registration
from waypost.operator.number.resource import NumberResource
from waypost.operator.number.status import compose

SHORTEST_WAIT_S = 0.1
_ABNORMAL = (ConditionType.QUOTA_EXCEEDED,)
"""Conditions that are true when something is wrong."""
_PROGRESS = (ConditionType.RECONCILING, ConditionType.STALLED)


class StatusWriter:
    """Writes the statuses of all numbers of one operator."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float], *, route_poll_s: float) -> None:
        self._cluster = cluster
        self._clock = clock
        self._route_poll_s = route_poll_s

    async def finish(
        self,
        resource: NumberResource,
        conditions: tuple[Condition, ...],
        outcome: Outcome,
        details: Mapping[str, Any] | None = None,
        *,
        keep_times: bool = False,
        again_in_s: float | None = None,
        min_wait_s: float = 0.0,
    ) -> Result:
        """Writes the status if it changed. Returns the result, which contains the time of the next reconcile.

        `details` holds the new values of fields other than conditions. `keep_times` says that nothing was attempted.
        The count of failures and the time of the next attempt then stay as they are. `min_wait_s` is the shortest
        wait before the next attempt, in seconds. Raises `ClusterError`.
        """
        now, before = self._clock(), resource.status
        failures = int(before.get("failureCount") or 0)
        next_attempt = seconds(before.get("nextAttemptTime"))
        if not keep_times:
            failures = failures + 1 if outcome is Outcome.FAILED else 0
            wait = compose.retry_s(outcome, failures, resource.metadata.uid)
            next_attempt = now + max(wait, min_wait_s) if wait is not None else None
        after = compose.status(
            before,
            conditions,
            generation=resource.metadata.generation,
            now=now,
            details=details,
            failures=failures,
            next_attempt=next_attempt,
            registration=registration.read(before),
        )
        if after != before:
            await self.write(resource, after)
            await self._emit_changes(resource, before, after)
        if resource.ready_reason == Reason.WAITING_FOR_WEBHOOK:
            return Result(self._route_poll_s, outcome)
        waits = [each for each in (again_in_s, next_attempt - now if next_attempt else None) if each is not None]
        return Result(max(SHORTEST_WAIT_S, min(waits)) if waits else None, outcome)

    async def write(self, resource: NumberResource, status: Mapping[str, Any]) -> None:
        """Writes the status, even if others have changed the rest of the object since it was read.

        Raises `ClusterError`.
        """
        try:
            resource.manifest = await self._cluster.write_status(resource.manifest, dict(status))
        except ClusterConflict:
            # Only the operator writes the status, so a user's change of the spec need not undo this reconcile. The
            # changed spec has another generation, which is reconciled next.
            metadata = resource.metadata
            fresh = await self._cluster.read(NUMBER, metadata.namespace, metadata.name)
            if fresh is None or fresh["metadata"].get("uid") != metadata.uid:
                raise
            resource.manifest = await self._cluster.write_status(fresh, dict(status))

    async def _emit_changes(
        self, resource: NumberResource, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """Emits an Event for each changed condition. A condition that is good when it first appears gets no Event."""
        for each in changed(before.get("conditions"), after["conditions"]):
            if each["status"] == ConditionStatus.UNKNOWN or each["type"] in _PROGRESS:
                continue
            is_good = (each["status"] == ConditionStatus.TRUE) is not (each["type"] in _ABNORMAL)
            is_first = find(before, each["type"]) is None
            if is_first and is_good:
                continue
            is_summary = each["type"] == ConditionType.READY
            message = each["message"] if is_summary else f"{each['type']}: {each['message']}"
            await self._cluster.emit(
                resource.manifest,
                type="Normal" if is_good else "Warning",
                reason=each["reason"],
                message=message,
            )
