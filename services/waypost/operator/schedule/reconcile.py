"""Makes one schedule true: its order and its CronJob, and tells of its runs.

Level-based: it may be ended after any of its writes and called again. Errors of the cluster come through; the caller
comes again.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import structlog
from pydantic import ValidationError

from waypost.cloudapi.graph.client import GraphClient
from waypost.operator.api.condition_types import ConditionStatus, ConditionType, Reason
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
"""Until the number is looked at again, for not each of its changes wakes its schedules."""
REFUSED_S = 60.0

log = structlog.get_logger(__name__)


class ScheduleReconciler:
    """Reconciles all schedules of one operator. It asks Meta nothing, so `graph` may be None."""

    def __init__(
        self,
        cluster: Cluster,
        graph: GraphClient | None,  # noqa: ARG002 - both reconcilers are made alike
        options: OperatorOptions,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._clock = clock

    async def reconcile(self, manifest: Manifest) -> Result:
        """Make the object true, or tell in its status why it is not."""
        try:
            metadata = Metadata.model_validate(manifest["metadata"])
            spec = ScheduleSpec.model_validate(manifest.get("spec") or {})
        except ValidationError as error:
            fields = sorted({".".join(map(str, each["loc"])) or "spec" for each in error.errors()})
            message = f"Correct these fields, which are not valid: {', '.join(fields)}."
            invalid = Obstacle(Reason.INVALID_SPEC, message, needs_person=True)
            before = manifest.get("status") or {}
            kept = {name: before.get(name) for name in ("cronJobName", "cronJobNamespace", "lastRun")}
            return await self._tell(manifest, None, invalid, kept)
        if FINALIZER not in metadata.finalizers:
            # Before the first child, which no owner reference can tie to an object of another namespace.
            manifest = await self._cluster.write_metadata(manifest, {"finalizers": [*metadata.finalizers, FINALIZER]})
        owner = Owner(metadata.namespace, metadata.name, metadata.uid)
        release = self._options.release_namespace
        number = await self._cluster.read(NUMBER, metadata.namespace, spec.number_ref.name)
        cron_job = await self._cluster.read("CronJob", release, owner.child)
        stored = await self._cluster.secret(release, owner.child)
        wanted = planning.plan(
            spec, number, has_cron_job=cron_job is not None, is_bound=_is_bound(stored, owner, spec, number)
        )
        obstacle: Obstacle | None = wanted.obstacle
        if wanted.cron_job:
            desired = children.cron_job(
                owner, spec, self._options, suspend=wanted.suspend, traceparent=tracing.current_traceparent()
            )
            try:
                if not children.as_desired(cron_job, desired):
                    cron_job = await self._cluster.apply(desired, manager=children.MANAGER)
            except ClusterRefused as error:
                # What was good last stays as it is, order included.
                log.warning("the CronJob was refused", reason=error.reason)
                obstacle = obstacle or planning.refusal(error)
        if wanted.write_order and obstacle is None and number is not None:
            content = children.order(owner, spec, str(number["spec"]["phoneNumberId"]))
            secret = children.secret(owner, content, str(number["metadata"].get("uid") or ""), self._options)
            if not children.holds(stored, secret):
                await self._cluster.apply(secret, manager=children.MANAGER)
        news: dict[str, Any] = {}
        if cron_job is not None:
            news = {"cronJobName": owner.child, "cronJobNamespace": release}
            news["lastRun"] = await self._last_run(manifest, owner, cron_job)
        if obstacle is None and not spec.suspend:
            news["nextRunAt"] = runs.next_run(spec.schedule, spec.time_zone, self._clock())
        return await self._tell(manifest, spec, obstacle, news)

    async def finalize(self, manifest: Manifest) -> Result:
        """Delete what was made for it, then let it go. Messages that its runs have queued still go out."""
        metadata = manifest["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if FINALIZER not in finalizers:
            return Result(None, Outcome.READY)
        if (metadata.get("annotations") or {}).get(ABANDON) != "true":
            owner = Owner(metadata["namespace"], metadata["name"], metadata["uid"])
            await self._delete(owner.child)
            # Whatever an older version, or somebody else's copy, has named otherwise.
            for each in await self._cluster.labelled("CronJob", {children.SCHEDULE_UID: owner.uid}):
                if each["metadata"]["name"] != owner.child:
                    await self._delete(each["metadata"]["name"])
        finalizers.remove(FINALIZER)
        await self._cluster.write_metadata(manifest, {"finalizers": finalizers})
        return Result(None, Outcome.READY)

    async def sweep(self) -> list[str]:
        """Delete CronJobs whose schedule is gone, for somebody took its finalizer away; returns their names.

        Without this their runs would go on for ever. One whose schedule cannot be read (a namespace that is not watched
        any more) is left alone.
        """
        swept = []
        there = {
            (each["metadata"]["namespace"], each["metadata"]["name"]) for each in await self._cluster.objects(SCHEDULE)
        }
        label = {"app.kubernetes.io/component": "schedule"}
        for cron_job in await self._cluster.labelled("CronJob", label):
            metadata = cron_job["metadata"]
            labels = metadata.get("labels") or {}
            whose = labels.get(SCHEDULE_NAMESPACE, ""), labels.get(SCHEDULE_NAME, "")
            if whose in there or not all(whose):
                continue
            try:
                schedule = await self._cluster.read(SCHEDULE, *whose)
            except ClusterRefused:
                continue
            if schedule is None:
                log.warning("a CronJob had outlived its schedule", cron_job=metadata["name"])
                await self._delete(metadata["name"])
                swept.append(metadata["name"])
        return swept

    async def _delete(self, child: str) -> None:
        """The CronJob first: without its order a run would wait for it, without its CronJob there is no run."""
        for kind in ("CronJob", "Secret"):
            await self._cluster.delete(kind, self._options.release_namespace, child)

    async def _last_run(self, manifest: Manifest, owner: Owner, cron_job: Manifest) -> dict[str, Any] | None:
        known: dict[str, Any] | None = (manifest.get("status") or {}).get("lastRun")
        if runs.is_known(cron_job, known):
            return known
        pods = await self._cluster.labelled("Pod", {children.SCHEDULE_UID: owner.uid})
        return runs.last_run(pods) or known

    async def _tell(
        self, manifest: Manifest, spec: ScheduleSpec | None, obstacle: Obstacle | None, news: Mapping[str, Any]
    ) -> Result:
        """Write the status if it changed, and an Event if its state did."""
        metadata, before = manifest["metadata"], manifest.get("status") or {}
        generation = int(metadata.get("generation") or 1)
        found = planning.conditions(spec, obstacle)
        requested = (metadata.get("annotations") or {}).get(RECONCILE_REQUESTED)
        status = {
            "observedGeneration": generation,
            "conditions": merged(before.get("conditions"), found, generation=generation, now=self._clock()),
            **{name: value for name, value in news.items() if value},
            **({"lastHandledReconcileAt": requested[:64]} if requested else {}),
        }
        outcome = planning.outcome(obstacle)
        if status != before:
            manifest = await self._cluster.write_status(manifest, status)
            await self._tell_change(manifest, before, status)
        waits = {Outcome.WAITING: WAIT_S, Outcome.FAILED: REFUSED_S}
        return Result(waits.get(outcome), outcome)

    async def _tell_change(self, manifest: Manifest, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for each in changed(before.get("conditions"), after["conditions"]):
            is_true = each["status"] == ConditionStatus.TRUE
            is_first = find(before, ConditionType.READY) is None
            if each["type"] != ConditionType.READY or (is_true and is_first):
                continue
            kind: Literal["Normal", "Warning"] = "Normal" if is_true else "Warning"
            await self._cluster.emit(manifest, type=kind, reason=each["reason"], message=each["message"])


def _is_bound(stored: Stored | None, owner: Owner, spec: ScheduleSpec, number: Manifest | None) -> bool:
    """Whether the order is for this very number already: it was found usable for this schedule before."""
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
