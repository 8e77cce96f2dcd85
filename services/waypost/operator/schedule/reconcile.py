"""Reconciles a schedule: writes its order and its CronJob, and reports its runs in the status.

The reconcile is level-based: it starts from the state that it finds, not from an event. It may therefore be
interrupted after any write and repeated. Cluster errors propagate, and the caller retries.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import structlog
from pydantic import ValidationError

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import changed, find, merged
from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.api.number_models import ABANDON, RECONCILE_REQUESTED, Metadata
from waypost.operator.api.schedule_models import ScheduleSpec
from waypost.operator.cluster.interface import Cluster, ClusterRefused, Manifest, Stored
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.engine.wakes import SCHEDULE_NAME, SCHEDULE_NAMESPACE
from waypost.operator.options import OperatorOptions
from waypost.operator.schedule import children, runs
from waypost.operator.schedule import plan as planning
from waypost.operator.schedule.children import Owner
from waypost.operator.schedule.plan import Obstacle
from waypost.telemetry import tracing

FINALIZER = "waypost.dev/schedule"
WAIT_S = 15.0
"""Seconds to wait before the number is read again. This is necessary because only some changes of a number wake its
schedules."""
REFUSED_S = 60.0
"""Seconds to wait after the API server refused the CronJob for a reason that may end by itself."""

log = structlog.get_logger(__name__)


class ScheduleReconciler:
    """Reconciles all schedules of one operator. It makes no calls to Meta."""

    def __init__(
        self,
        cluster: Cluster,
        options: OperatorOptions,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._clock = clock

    async def reconcile(self, manifest: Manifest) -> Result:
        """Brings the schedule to its desired state, or says in its status why that is not possible."""
        try:
            metadata = Metadata.model_validate(manifest["metadata"])
            spec = ScheduleSpec.model_validate(manifest.get("spec") or {})
        except ValidationError as error:
            fields = sorted({".".join(map(str, each["loc"])) or "spec" for each in error.errors()})
            message = f"Correct these fields, which are not valid: {', '.join(fields)}."
            invalid = Obstacle(Reason.INVALID_SPEC, message, needs_person=True)
            before = manifest.get("status") or {}
            unchanged = {name: before.get(name) for name in ("cronJobName", "cronJobNamespace", "lastRun")}
            return await self._finish(manifest, None, invalid, unchanged)
        if FINALIZER not in metadata.finalizers:
            # It is added before the first child: an owner reference cannot lead to another namespace, so only the
            # finalizer deletes the children.
            manifest = await self._cluster.write_metadata(manifest, {"finalizers": [*metadata.finalizers, FINALIZER]})
        owner = Owner(metadata.namespace, metadata.name, metadata.uid)
        release = self._options.release_namespace
        number = await self._cluster.read(NUMBER, metadata.namespace, spec.number_ref.name)
        cron_job = await self._cluster.read("CronJob", release, owner.child)
        stored = await self._cluster.secret(release, owner.child)
        planned = planning.plan(
            spec, number, has_cron_job=cron_job is not None, is_bound=_is_bound(stored, owner, spec, number)
        )
        obstacle: Obstacle | None = planned.obstacle
        if planned.cron_job:
            desired = children.cron_job(
                owner,
                spec,
                self._options,
                suspend=planned.suspend,
                traceparent=tracing.current_traceparent(),
                registry_shard=((number or {}).get("status") or {}).get("registryShard"),
            )
            try:
                if not children.is_as_desired(cron_job, desired):
                    cron_job = await self._cluster.apply(desired, manager=children.MANAGER)
            except ClusterRefused as error:
                # The last valid CronJob stays as it is, and so does the order, which belongs to it.
                log.warning("the CronJob was refused", reason=error.reason)
                obstacle = obstacle or planning.refusal(error)
        if planned.write_order and obstacle is None and number is not None:
            content = children.order(owner, spec, str(number["spec"]["phoneNumberId"]))
            secret = children.secret(owner, content, str(number["metadata"].get("uid") or ""), self._options)
            if not children.is_current(stored, secret):
                await self._cluster.apply(secret, manager=children.MANAGER)
        details: dict[str, Any] = {}
        if cron_job is not None:
            details = {"cronJobName": owner.child, "cronJobNamespace": release}
            details["lastRun"] = await self._last_run(manifest, owner, cron_job)
        if obstacle is None and not spec.suspend:
            details["nextRunAt"] = runs.next_run(spec.schedule, spec.time_zone, self._clock())
        return await self._finish(manifest, spec, obstacle, details)

    async def finalize(self, manifest: Manifest) -> Result:
        """Deletes the children, then removes the finalizer. Messages that runs have already queued are still sent."""
        metadata = manifest["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if FINALIZER not in finalizers:
            return Result(None, Outcome.READY)
        if (metadata.get("annotations") or {}).get(ABANDON) != "true":
            owner = Owner(metadata["namespace"], metadata["name"], metadata["uid"])
            await self._delete(owner.child)
            # An older version may have used another name, and a person may have copied the CronJob.
            for each in await self._cluster.labelled("CronJob", {children.SCHEDULE_UID: owner.uid}):
                if each["metadata"]["name"] != owner.child:
                    await self._delete(each["metadata"]["name"])
        finalizers.remove(FINALIZER)
        await self._cluster.write_metadata(manifest, {"finalizers": finalizers})
        return Result(None, Outcome.READY)

    async def sweep(self) -> list[str]:
        """Deletes CronJobs whose schedule is gone but whose finalizer never ran. Returns their names.

        Without the sweep, these CronJobs would start runs for ever. If a schedule cannot be read because its
        namespace is no longer watched, its CronJob stays as it is.
        """
        swept = []
        existing = {
            (each["metadata"]["namespace"], each["metadata"]["name"]) for each in await self._cluster.objects(SCHEDULE)
        }
        label = {"app.kubernetes.io/component": "schedule"}
        for cron_job in await self._cluster.labelled("CronJob", label):
            metadata = cron_job["metadata"]
            labels = metadata.get("labels") or {}
            owner = labels.get(SCHEDULE_NAMESPACE, ""), labels.get(SCHEDULE_NAME, "")
            if owner in existing or not all(owner):
                continue
            try:
                schedule = await self._cluster.read(SCHEDULE, *owner)
            except ClusterRefused:
                continue
            if schedule is None:
                log.warning("a CronJob without a schedule was deleted", cron_job=metadata["name"])
                await self._delete(metadata["name"])
                swept.append(metadata["name"])
        return swept

    async def _delete(self, child: str) -> None:
        """Deletes the CronJob first and then the Secret.

        In the other order, a run could start without its order and would wait for it.
        """
        for kind in ("CronJob", "Secret"):
            await self._cluster.delete(kind, self._options.release_namespace, child)

    async def _last_run(self, manifest: Manifest, owner: Owner, cron_job: Manifest) -> dict[str, Any] | None:
        reported: dict[str, Any] | None = (manifest.get("status") or {}).get("lastRun")
        if runs.is_up_to_date(cron_job, reported):
            return reported
        pods = await self._cluster.labelled("Pod", {children.SCHEDULE_UID: owner.uid})
        return runs.last_run(pods) or reported

    async def _finish(
        self, manifest: Manifest, spec: ScheduleSpec | None, obstacle: Obstacle | None, details: Mapping[str, Any]
    ) -> Result:
        """Writes the status if it changed, and emits an Event if `Ready` changed."""
        metadata, before = manifest["metadata"], manifest.get("status") or {}
        generation = int(metadata.get("generation") or 1)
        found = planning.conditions(spec, obstacle)
        requested = (metadata.get("annotations") or {}).get(RECONCILE_REQUESTED)
        status = {
            "observedGeneration": generation,
            "conditions": merged(before.get("conditions"), found, generation=generation, now=self._clock()),
            **{name: value for name, value in details.items() if value},
            **({"lastHandledReconcileAt": requested[:64]} if requested else {}),
        }
        outcome = planning.outcome(obstacle)
        if status != before:
            manifest = await self._cluster.write_status(manifest, status)
            await self._emit_change(manifest, before, status)
        waits = {Outcome.WAITING: WAIT_S, Outcome.FAILED: REFUSED_S}
        return Result(waits.get(outcome), outcome)

    async def _emit_change(self, manifest: Manifest, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for each in changed(before.get("conditions"), after["conditions"]):
            is_true = each["status"] == ConditionStatus.TRUE
            is_first = find(before, ConditionType.READY) is None
            if each["type"] != ConditionType.READY or (is_true and is_first):
                continue
            kind: Literal["Normal", "Warning"] = "Normal" if is_true else "Warning"
            await self._cluster.emit(manifest, type=kind, reason=each["reason"], message=each["message"])


def _is_bound(stored: Stored | None, owner: Owner, spec: ScheduleSpec, number: Manifest | None) -> bool:
    """Returns whether the stored order is for exactly this number.

    If it is, the number was found usable for this schedule before.
    """
    if stored is None or number is None:
        return False
    uids = stored.labels.get(children.SCHEDULE_UID), stored.labels.get(children.NUMBER_UID)
    if uids != (owner.uid, number["metadata"].get("uid")):
        return False
    try:
        order = json.loads(stored.data[children.ORDER_KEY])
        bound = order["number"], order["numberId"]
    except (KeyError, ValueError, TypeError):
        return False
    return bool(bound == (spec.number_ref.name, (number.get("spec") or {}).get("phoneNumberId")))
