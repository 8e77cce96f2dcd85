"""Makes one number true: looks, plans, acts and looks again until there is nothing to do, then writes what is so.

Level-based: it starts from what is there, never from what happened, so it may be ended after any of its writes and
called again. The caller sees to it that one number is not reconciled twice at the same time.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from waypost.cloudapi.graph.callback_probe import CallbackProbe
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphRefused
from waypost.operator.api.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import Condition, find, status_of
from waypost.operator.api.number_models import FINALIZER, RECONCILE_REQUESTED, Metadata, NumberSpec
from waypost.operator.cluster.interface import Cluster, ClusterError, Manifest
from waypost.operator.cluster.registry_secrets import Registry
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.meta.budget import Budget, BudgetSpent, initial_grant
from waypost.operator.meta.budget_handover import BudgetHandover
from waypost.operator.number import credentials as secret
from waypost.operator.number import registration
from waypost.operator.number.claims import Claims, claim
from waypost.operator.number.cluster_facts import Gatherer
from waypost.operator.number.execution import Deed, Performer, RouteProbe
from waypost.operator.number.finalize import Finalizer
from waypost.operator.number.observe import ANEW_S, FRESH_S, MetaView, account_key, app_key
from waypost.operator.number.operator_secrets import Keeping
from waypost.operator.number.pace import Pace
from waypost.operator.number.plan import plan
from waypost.operator.number.state import Desired, Observed
from waypost.operator.number.status import compose as statuses
from waypost.operator.number.status import judgement, summary
from waypost.operator.number.status.status_writer import Teller
from waypost.operator.number.subject import Subject
from waypost.operator.number.sweep import sweep
from waypost.operator.options import OperatorOptions

ROUNDS = 6
"""More than any plan needs; a world that changes under our hands is looked at again later."""
REFRESH_RETRY_S = 6 * 3600.0
KEPT_FRESH_S = 60.0
"""At most, and less than a resync, by which what somebody deleted by mistake is repaired."""


class NumberReconciler:
    """Reconciles all numbers of one operator; what they share, it shares among them.

    `probe` sees whether the webhook serves a callback; by default it asks `options.webhook_probe_url`, if that is set.
    `handover` passes the accounts' call budgets from the process before to the one after; None if there are no others.
    """

    def __init__(
        self,
        cluster: Cluster,
        graph: GraphClient,
        options: OperatorOptions,
        *,
        clock: Callable[[], float] = time.time,
        probe: RouteProbe | None = None,
        handover: BudgetHandover | None = None,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._clock = clock
        if probe is None and options.webhook_probe_url:
            probe = CallbackProbe(options.webhook_probe_url)
        self._probe = probe
        self._handover = handover
        if handover is None:
            budget = Budget(options.graph_calls_per_hour, clock)
            budget.open(initial_grant(before=0))
        else:
            budget = handover.budget
        self._view = MetaView(graph, budget, clock)
        self._claims = Claims(cluster)
        self._pace = Pace(clock(), options.resync_s)
        self._refresh_after: dict[tuple[str, str], float] = {}
        self._registry = registry = Registry(
            cluster, options.release_namespace, options.registry_shards, fresh_s=FRESH_S, clock=clock
        )
        fresh_s = min(KEPT_FRESH_S, options.resync_s / 2)
        self._keeping = keeping = Keeping(cluster, options.release_namespace, fresh_s=fresh_s, clock=clock)
        self._performer = Performer(cluster, graph, self._view, registry, keeping, probe, clock)
        self._gatherer = Gatherer(cluster, registry, keeping, self._claims, clock)
        self._teller = Teller(cluster, clock, route_poll_s=options.route_poll_s)
        self._finalizer = Finalizer(self._performer, self._claims, options)

    async def reconcile(self, manifest: Manifest) -> Result:
        """Make the object true, or tell in its status why it is not. `manifest` is as it was read just now.

        Raises `ClusterError` when it cannot even be told; nothing is lost by that.
        """
        await self._claims.load()
        await self._begin(is_deleted=bool(manifest["metadata"].get("deletionTimestamp")))
        mine = claim(manifest)
        try:
            metadata = Metadata.model_validate(manifest["metadata"])
            spec = NumberSpec.model_validate(manifest.get("spec") or {}, extra="ignore")
        except ValidationError as error:
            return await self._unusable(manifest, error)
        assert mine is not None, "a valid spec makes a claim"
        subject = Subject(manifest, metadata, mine)
        if metadata.deletion_timestamp is not None:
            result = await self._finalizer.finalize(manifest, metadata, spec, mine)
            if result.outcome is Outcome.READY:
                self._claims.drop(metadata.namespace, metadata.name)
                self._pace.forget(metadata.uid)
            return result
        self._claims.put(mine)
        if metadata.namespace == "apps":
            message = "Use another namespace: the address /webhooks/apps/… belongs to the callbacks of apps."
            return await self._teller.end(subject, summary.refused(Reason.NAMESPACE_TAKEN, message), Outcome.STALLED)
        if spec.suspend:
            return await self._teller.end(subject, summary.suspended(_sides(subject)), Outcome.READY)
        if FINALIZER not in metadata.finalizers:
            finalizers = [*metadata.finalizers, FINALIZER]
            subject.manifest = await self._cluster.write_metadata(subject.manifest, {"finalizers": finalizers})
        if not subject.status.get("conditions"):
            await self._teller.end(subject, summary.beginning(), Outcome.WAITING)
        public_url, plugins = self._options.public_url.rstrip("/"), self._options.plugins
        return await self._make_true(
            subject, Desired(metadata.namespace, metadata.name, metadata.generation, spec, public_url, plugins)
        )

    async def _begin(self, *, is_deleted: bool) -> None:
        """Learn what accounts may begin with. A deletion is not held up by it: then it has no calls, and a deadline."""
        if self._handover is None:
            return
        try:
            await self._handover.begin()
        except ClusterError:
            if not is_deleted:
                raise

    async def finalize(self, manifest: Manifest) -> Result:
        """Let go of a deleted object; see `finalize.py`. `ready` once its finalizer is off."""
        return await self.reconcile(manifest)

    async def hand_over(self) -> None:
        """Leave to the next process what accounts have left. Raises `ClusterError`."""
        if self._handover is not None:
            await self._handover.end()

    async def sweep(self) -> int:
        """Take away what outlived its object; see `sweep.py`. Raises `ClusterError`."""
        return await sweep(self._cluster, self._registry, self._keeping)

    async def _make_true(self, subject: Subject, desired: Desired) -> Result:
        observed = await self._gatherer.gather(subject, desired, may_refresh=self._may_refresh(desired))
        in_s = self._pace.in_s(subject, observed, self._clock())
        if in_s == 0 and await self._still_waits_for_route(subject, observed):
            return Result(self._options.route_poll_s, Outcome.WAITING)
        look = may_look = in_s == 0 and observed.rival is None
        waits = [in_s] if in_s else []
        failed: dict[str, Exception] = {}
        versions: dict[tuple[str, ...], int] = {}
        for _ in range(ROUNDS):
            if look and isinstance(observed.credentials, secret.Credentials):
                keys = (app_key(observed.credentials), account_key(observed.credentials, desired.spec.waba_id))
                versions = {key: self._view.version(key) for key in keys}
                age_s = self._age_s(subject)
                routine = subject.is_healthy and not self._pace.is_new(subject, observed)
                meta = await self._view.look(observed, desired.spec, routine=routine, age_s=age_s)
                self._pace.looked(subject.metadata.uid, self._clock())
                observed = dataclasses.replace(observed, meta=meta)
            planned = plan(desired, observed, self._clock())
            if planned.again_in_s is not None:
                waits.append(planned.again_in_s)
            if not planned.actions:
                break
            deed = Deed(self._performer, desired, observed, versions, lambda: self._count_registration(subject))
            await deed.do(planned.actions)
            look = may_look and deed.moved_meta
            failed |= deed.failed
            await self._note_failures(subject, desired, observed, deed)
            may_refresh = self._may_refresh(desired)
            found = await self._gatherer.ours(observed, subject, desired, may_refresh=may_refresh)
            observed = dataclasses.replace(found, failed=failed)
        return await self._tell(subject, desired, observed, min(waits, default=None))

    def _age_s(self, subject: Subject) -> float:
        """How old an answer may be that another number asked for."""
        if subject.is_requested:
            return ANEW_S
        return self._options.resync_s / 2 if subject.is_healthy else FRESH_S

    def _may_refresh(self, desired: Desired) -> bool:
        after = self._refresh_after.get((desired.namespace, desired.spec.credentials_ref.name), 0.0)
        return self._clock() >= after

    async def _still_waits_for_route(self, subject: Subject, observed: Observed) -> bool:
        """While the webhook does not serve the route, Meta need not be asked anything."""
        is_waiting = subject.ready_reason == Reason.WAITING_FOR_WEBHOOK and not self._pace.is_new(subject, observed)
        if not is_waiting or self._probe is None or observed.kept is None:
            return False
        path = f"/webhooks/{subject.metadata.namespace}/{subject.metadata.name}"
        return await self._probe.serves(path, observed.kept.verify_token) is not None

    async def _count_registration(self, subject: Subject) -> None:
        """Before the call, so that one that is cut short counts too."""
        calls = registration.read(subject.status).attempted(self._clock())
        await self._teller.write(subject, subject.status | {"registration": calls.written()})

    async def _note_failures(self, subject: Subject, desired: Desired, observed: Observed, deed: Deed) -> None:
        if "RefreshToken" in deed.failed:
            key = (desired.namespace, desired.spec.credentials_ref.name)
            self._refresh_after[key] = self._clock() + REFRESH_RETRY_S
        error = deed.failed.get("Register")
        if isinstance(error, GraphRefused):
            calls = registration.read(subject.status).refused(error, observed.secret_version, self._clock())
            await self._teller.write(subject, subject.status | {"registration": calls.written()})

    async def _tell(self, subject: Subject, desired: Desired, observed: Observed, again_in_s: float | None) -> Result:
        now = self._clock()
        # What was written meanwhile, the count of registrations, is a part of what is judged.
        observed = dataclasses.replace(observed, status=subject.status)
        found = summary.summarise(judgement.judge(desired, observed, now), observed)
        news = statuses.found(desired, observed, self._options.release_namespace, now)
        if requested := subject.metadata.annotations.get(RECONCILE_REQUESTED):
            news["lastHandledReconcileAt"] = requested[:64]
        before = (subject.status.get("token") or {}).get("warnedDays")
        after = (news.get("token") or {}).get("warnedDays")
        result = await self._teller.end(
            subject,
            found.conditions,
            found.outcome,
            news,
            keep_times=observed.meta is None and observed.rival is None and not observed.failed,
            again_in_s=again_in_s,
            at_least_s=max((each.wait_s for each in _troubles(observed) if isinstance(each, BudgetSpent)), default=0.0),
        )
        if after is not None and (before is None or after < before):
            message = str((find(subject.status, ConditionType.TOKEN_VALID) or {}).get("message", ""))
            await self._cluster.emit(subject.manifest, type="Warning", reason=Reason.TOKEN_EXPIRES, message=message)
        return result

    async def _unusable(self, manifest: Manifest, error: ValidationError) -> Result:
        """The object was written past the schema, by an older CRD or another version."""
        metadata = manifest["metadata"]
        if metadata.get("deletionTimestamp"):
            finalizers = [each for each in metadata.get("finalizers") or () if each != FINALIZER]
            await self._cluster.write_metadata(manifest, {"finalizers": finalizers})
            return Result(None, Outcome.READY)
        fields = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
        status = statuses.status(
            manifest.get("status") or {},
            summary.refused(Reason.INVALID_SPEC, f"Correct these fields, which are not valid: {', '.join(fields)}."),
            generation=int(metadata.get("generation") or 1),
            now=self._clock(),
        )
        if status != manifest.get("status"):
            await self._cluster.write_status(manifest, status)
        return Result(None, Outcome.STALLED)


_SUMMARY = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)


def _sides(subject: Subject) -> list[Condition]:
    """The conditions as they are, without the summary."""
    return [
        Condition(str(each["type"]), status_of(each), str(each.get("reason")), str(each.get("message")))
        for each in subject.status.get("conditions") or []
        if isinstance(each, dict) and each.get("type") not in (None, *_SUMMARY)
    ]


def _troubles(observed: Observed) -> list[Any]:
    meta = observed.meta
    return [*observed.failed.values(), *((meta.token, meta.number, meta.account, meta.app) if meta else ())]
