"""Reconciles a number: observes, plans and acts in rounds until there is nothing to do, then writes the status.

The reconcile is level-based: it starts from the state that it finds, not from an event. It may therefore be
interrupted after any write and repeated. The caller makes sure that one number is not reconciled twice at the
same time.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator

from pydantic import ValidationError

from waypost.cloudapi.graph.callback_probe import CallbackProbe
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphRefused
from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import Condition, find, status_of, timestamp
from waypost.operator.api.kinds import NUMBER
from waypost.operator.api.number_models import FINALIZER, RECONCILE_REQUESTED, Metadata, NumberSpec
from waypost.operator.bots import verdict
from waypost.operator.bots.watch import BotWatch, has_bot, worker_pods
from waypost.operator.cluster.interface import Cluster, ClusterError, Manifest
from waypost.operator.cluster.registry_secrets import Registry
from waypost.operator.engine.object_cache import Key
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.meta.budget import Budget, BudgetSpent, initial_grant
from waypost.operator.meta.budget_handover import BudgetHandover
from waypost.operator.number import actions as act
from waypost.operator.number import credentials as secret
from waypost.operator.number import registration
from waypost.operator.number.actions import Action
from waypost.operator.number.answers import LastAnswers
from waypost.operator.number.claims import Claims, claim_of
from waypost.operator.number.cluster_facts import ClusterFacts
from waypost.operator.number.execution import Dependencies, PlanExecution, RouteProbe
from waypost.operator.number.finalize import Finalizer
from waypost.operator.number.holders import Holders
from waypost.operator.number.meta_view import FRESH_S, NO_CACHE, MetaView, account_key, app_key
from waypost.operator.number.operator_secrets import OperatorSecrets
from waypost.operator.number.pace import Pace
from waypost.operator.number.plan import is_believed, plan
from waypost.operator.number.resource import NumberResource
from waypost.operator.number.state import Desired, Observed
from waypost.operator.number.status import compose, conflict, judgement, summary
from waypost.operator.number.status.conflict import ConflictReporter
from waypost.operator.number.status.status_writer import StatusWriter
from waypost.operator.number.sweep import sweep
from waypost.operator.options import OperatorOptions

ROUNDS = 6
"""Most rounds of one reconcile, more than any number needs. If the state still changes after them, a later reconcile
continues."""
REFRESH_RETRY_S = 6 * 3600.0
SECRETS_FRESH_S = 60.0
"""Longest time for which the operator's own Secrets are cached, in seconds; half of the resync interval if that is
shorter. A Secret that was deleted by mistake is restored after this time."""


class NumberReconciler:
    """Reconciles all numbers of one operator. Numbers with the same app or account share Meta's answers.

    `probe` asks whether the webhook serves a callback. The default probe asks at `options.webhook_probe_url`, if
    that is set. `handover` passes the accounts' call budgets from the previous process to this one and from this
    one to the next. It is None if there are no other processes. `bots` asks workers about the bots.
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
        bots: BotWatch | None = None,
    ) -> None:
        self._cluster = cluster
        self._bots = bots or BotWatch(worker_pods(cluster))
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
        self._answers = LastAnswers(clock(), options.resync_s)
        self._refresh_after: dict[tuple[str, str], float] = {}
        fresh_s = min(SECRETS_FRESH_S, options.resync_s / 2)
        self._registry = registry = Registry(
            cluster,
            options.release_namespace,
            options.registry_shards,
            fresh_s=fresh_s,
            clock=clock,
            quota_bytes=options.quota_registry_bytes,
        )
        self._secrets = secrets = OperatorSecrets(cluster, options.release_namespace, fresh_s=fresh_s, clock=clock)
        self._deps = Dependencies(cluster, graph, self._view, registry, secrets, probe, clock)
        self._facts = ClusterFacts(cluster, registry, secrets, clock)
        self._holders = Holders(self._claims, registry, self._view, clock, fresh_s=options.resync_s / 2)
        self._status = StatusWriter(cluster, clock, route_poll_s=options.route_poll_s)
        self._conflicts = ConflictReporter(cluster, clock)
        self._finalizer = Finalizer(self._deps, self._claims, self._holders, options)

    async def reconcile(self, manifest: Manifest) -> Result:
        """Brings the number to its desired state, or says in its status why that is not possible.

        `manifest` must have been read just now. Raises `ClusterError` when even the status cannot be written. No
        information is lost in that case.
        """
        await self._claims.load()
        await self._open_budget(is_deleted=bool(manifest["metadata"].get("deletionTimestamp")))
        claim = claim_of(manifest)
        try:
            metadata = Metadata.model_validate(manifest["metadata"])
            spec = NumberSpec.model_validate(manifest.get("spec") or {}, extra="ignore")
        except ValidationError as error:
            return await self._invalid(manifest, error)
        assert claim is not None, "a valid spec names a number"
        resource = NumberResource(manifest, metadata, claim)
        if metadata.deletion_timestamp is not None:
            result = await self._finalizer.finalize(manifest, metadata, spec, claim)
            if result.outcome is Outcome.READY:
                self._claims.drop(metadata.namespace, metadata.name)
                self._pace.forget(metadata.uid)
                self._answers.forget(metadata.uid)
                self._holders.forget(claim)
            return result
        self._claims.put(claim, manifest)
        if metadata.namespace == "apps":
            message = "Use another namespace: the address /webhooks/apps/… belongs to the callbacks of apps."
            conditions = summary.refused(Reason.NAMESPACE_TAKEN, message)
            return await self._status.finish(resource, conditions, Outcome.STALLED)
        if spec.suspend:
            return await self._suspended(resource)
        if FINALIZER not in metadata.finalizers:
            finalizers = [*metadata.finalizers, FINALIZER]
            resource.manifest = await self._cluster.write_metadata(resource.manifest, {"finalizers": finalizers})
        if not resource.status.get("conditions"):
            # Users and `kubectl wait` see at once that the operator has begun; Meta may take a while to answer.
            await self._status.finish(resource, summary.first_reconcile(), Outcome.WAITING)
        public_url, plugins = self._options.public_url.rstrip("/"), self._options.plugins
        return await self._converge(
            resource, Desired(metadata.namespace, metadata.name, metadata.generation, spec, public_url, plugins)
        )

    async def _open_budget(self, *, is_deleted: bool) -> None:
        """Opens the accounts' call budgets.

        If this fails, a deletion continues without budgets. It then cannot make calls that Meta counts, but it ends
        at its deadline.
        """
        if self._handover is None:
            return
        try:
            await self._handover.begin()
        except ClusterError:
            if not is_deleted:
                raise

    async def finalize(self, manifest: Manifest) -> Result:
        """Finalizes a deleted object; see `finalize.py`.

        When the object's finalizer is removed, the outcome is `READY`.
        """
        return await self.reconcile(manifest)

    async def hand_over(self) -> None:
        """Hands the remaining calls of the accounts' budgets to the next process. Raises `ClusterError`."""
        if self._handover is not None:
            await self._handover.end()

    async def watch(self, wake: Callable[[Key], None]) -> None:
        """Asks the workers about the bots until this task is cancelled; see `SupportsWatch`."""
        await self._bots.run(lambda: self._cluster.objects(NUMBER), wake)

    async def sweep(self) -> int:
        """Withdraws the numbers whose object is gone; see `sweep.py`. Raises `ClusterError`."""
        return await sweep(self._cluster, self._registry, self._secrets)

    async def _suspended(self, resource: NumberResource) -> Result:
        """Reports a suspended number. It is ready only if it is published, so that its messages flow."""
        metadata, aspects = resource.metadata, _aspects(resource)
        if has_bot(resource.manifest):
            bot = verdict.condition(self._bots.verdict(metadata.namespace, metadata.name), resource.status)
            others = [each for each in aspects if each.type != ConditionType.BOT_HEALTHY]
            aspects = [*others, *([bot] if bot else [])]
        holder = await self._holders.holder(resource.claim, resource.manifest)
        if holder is not None and resource.status.get("phone"):
            found = summary.in_conflict(aspects, conflict.message(resource.claim, holder))
            return await self._status.finish(resource, found.conditions, found.outcome)
        published = await self._registry.read(metadata.namespace, metadata.name)
        if published.route is None or published.number is None:
            return await self._status.finish(resource, summary.suspended_unpublished(aspects), Outcome.WAITING)
        # Runs of schedules need the place, also of a number that was suspended when an operator of the previous version
        # published it.
        details = {"registryShard": published.shard, "unansweredSince": self._overdue(resource)}
        return await self._status.finish(resource, summary.suspended(aspects), Outcome.READY, details)

    def _overdue(self, resource: NumberResource) -> dict[str, str]:
        """Returns `status.unansweredSince`: the overdue questions and when Meta last answered each of them."""
        overdue = self._answers.overdue(resource.metadata.uid, resource.status, self._clock())
        return {question.value: timestamp(at) for question, at in overdue.items()}

    async def _converge(self, resource: NumberResource, desired: Desired) -> Result:
        observed = await self._facts.read(resource, desired, may_refresh=self._may_refresh(desired))
        observed = await self._with_holder(resource, observed)
        wait_s = self._pace.wait_s(resource, observed, self._clock())
        if wait_s == 0 and observed.holder is None and await self._still_waits_for_route(resource, observed):
            return Result(self._options.route_poll_s, Outcome.WAITING)
        asks_meta = is_due = wait_s == 0
        waits = [wait_s] if wait_s else []
        failed: dict[type[Action], Exception] = {}
        versions: dict[tuple[str, ...], int] = {}
        for _ in range(ROUNDS):
            if asks_meta and isinstance(observed.credentials, secret.Credentials):
                keys = (app_key(observed.credentials), account_key(observed.credentials, desired.spec.waba_id))
                versions = {key: self._view.version(key) for key in keys}
                observed = await self._ask_meta(resource, desired, observed)
                observed = await self._with_holder(resource, observed)
            planned = plan(desired, observed, self._clock())
            if planned.again_in_s is not None:
                waits.append(planned.again_in_s)
            if not planned.actions:
                break
            execution = PlanExecution(
                self._deps, desired, observed, versions, lambda: self._record_registration(resource)
            )
            await execution.run(planned.actions)
            asks_meta = is_due and execution.changed_meta
            failed |= execution.failed
            await self._record_failures(resource, desired, observed, execution)
            may_refresh, before = self._may_refresh(desired), observed.yielding
            reread = await self._facts.reread_own(observed, resource, desired, may_refresh=may_refresh)
            observed = await self._with_holder(resource, dataclasses.replace(reread, failed=failed))
            if before is not None and observed.holder is None and observed.yielding is None:
                await self._conflicts.report_takeover(resource.claim, before)
        return await self._finish(resource, desired, observed, min(waits, default=None))

    async def _ask_meta(self, resource: NumberResource, desired: Desired, observed: Observed) -> Observed:
        """Returns `observed` with Meta's answers added."""
        if resource.is_requested:
            max_age_s = NO_CACHE
        else:
            max_age_s = self._options.resync_s / 2 if resource.is_healthy else FRESH_S
        routine = resource.is_healthy and not self._pace.has_news(resource, observed)
        meta = await self._view.observe(
            observed, desired.spec, routine=routine, max_age_s=max_age_s, only_proof=observed.holder is not None
        )
        self._pace.asked(resource.metadata.uid, self._clock())
        self._answers.note(resource.metadata.uid, meta, self._clock())
        return dataclasses.replace(observed, meta=meta)

    async def _with_holder(self, resource: NumberResource, observed: Observed) -> Observed:
        """Returns `observed` with the object that holds the phone number, if it is another object.

        An object whose credentials have never reached the number does not compete for it. Such an object also does
        not learn whether another object holds the number.
        """
        is_proven = isinstance(observed.credentials, secret.Credentials) and is_believed(observed)
        self._holders.note(resource.claim, is_proven=is_proven)
        holder = None
        if is_proven or observed.has_reached_number:
            holder = await self._holders.holder(resource.claim, resource.manifest)
        if holder is not None and is_proven and await self._holders.yields(holder):
            return dataclasses.replace(observed, holder=None, yielding=holder)
        return dataclasses.replace(observed, holder=holder, yielding=None)

    def _may_refresh(self, desired: Desired) -> bool:
        after = self._refresh_after.get((desired.namespace, desired.spec.credentials_ref.name), 0.0)
        return self._clock() >= after

    async def _still_waits_for_route(self, resource: NumberResource, observed: Observed) -> bool:
        """Returns whether the webhook still does not serve the route. If so, there is no reason to ask Meta."""
        has_news = self._pace.has_news(resource, observed)
        is_waiting = resource.ready_reason == Reason.WAITING_FOR_WEBHOOK and not has_news
        if not is_waiting or self._probe is None or observed.secrets is None:
            return False
        path = f"/webhooks/{resource.metadata.namespace}/{resource.metadata.name}"
        return await self._probe.serves(path, observed.secrets.verify_token) is not None

    async def _record_registration(self, resource: NumberResource) -> None:
        """Records a call of `register` before the call is made, so that an interrupted call counts too."""
        calls = registration.read(resource.status).with_attempt(self._clock())
        await self._status.write(resource, resource.status | {"registration": calls.as_status()})

    async def _record_failures(
        self, resource: NumberResource, desired: Desired, observed: Observed, execution: PlanExecution
    ) -> None:
        if act.RefreshToken in execution.failed:
            key = (desired.namespace, desired.spec.credentials_ref.name)
            self._refresh_after[key] = self._clock() + REFRESH_RETRY_S
        error = execution.failed.get(act.Register)
        if isinstance(error, GraphRefused):
            now, before = self._clock(), registration.read(resource.status)
            calls = before.with_refusal(error, observed.secret_version, now)
            await self._status.write(resource, resource.status | {"registration": calls.as_status()})

    async def _finish(
        self, resource: NumberResource, desired: Desired, observed: Observed, again_in_s: float | None
    ) -> Result:
        now = self._clock()
        uid = resource.metadata.uid
        # The status may have been written in this reconcile (registrations), and judging needs it as it is now.
        observed = dataclasses.replace(
            observed,
            status=resource.status,
            stale=self._answers.stale(uid, resource.status, now),
            bot_health=self._bots.verdict(desired.namespace, desired.name),
        )
        judged = judgement.judge(desired, observed, now)
        if observed.holder is None:
            found = summary.summarise(judged, observed)
        else:
            found = summary.in_conflict(
                [each.condition for each in judged], conflict.message(resource.claim, observed.holder)
            )
        details = compose.details(desired, observed, self._options.release_namespace, now)
        details["unansweredSince"] = {} if observed.holder else self._overdue(resource)
        if requested := resource.metadata.annotations.get(RECONCILE_REQUESTED):
            details["lastHandledReconcileAt"] = requested[:64]
        was_in_conflict = resource.ready_reason == Reason.CONFLICT
        before = (resource.status.get("token") or {}).get("warnedDays")
        after = (details.get("token") or {}).get("warnedDays")
        spent_s = (each.wait_s for each in _errors(observed) if isinstance(each, BudgetSpent))
        result = await self._status.finish(
            resource,
            found.conditions,
            found.outcome,
            details,
            keep_times=observed.meta is None and observed.holder is None and not observed.failed,
            again_in_s=again_in_s,
            min_wait_s=max(spent_s, default=0.0),
        )
        if observed.holder is not None and not was_in_conflict:
            await self._conflicts.report(resource.claim, observed.holder)
        if after is not None and (before is None or after < before):
            message = str((find(resource.status, ConditionType.TOKEN_VALID) or {}).get("message", ""))
            await self._cluster.emit(resource.manifest, type="Warning", reason=Reason.TOKEN_EXPIRES, message=message)
        return result

    async def _invalid(self, manifest: Manifest, error: ValidationError) -> Result:
        """Writes into the status that the object does not match the schema.

        An older CRD or another version may have accepted such an object.
        """
        metadata = manifest["metadata"]
        if metadata.get("deletionTimestamp"):
            finalizers = [each for each in metadata.get("finalizers") or () if each != FINALIZER]
            await self._cluster.write_metadata(manifest, {"finalizers": finalizers})
            return Result(None, Outcome.READY)
        fields = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
        status = compose.status(
            manifest.get("status") or {},
            summary.refused(Reason.INVALID_SPEC, f"Correct these fields, which are not valid: {', '.join(fields)}."),
            generation=int(metadata.get("generation") or 1),
            now=self._clock(),
        )
        if status != manifest.get("status"):
            await self._cluster.write_status(manifest, status)
        return Result(None, Outcome.STALLED)


_SUMMARY = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)


def _aspects(resource: NumberResource) -> list[Condition]:
    """Returns the conditions in the current status, without the summary."""
    return [
        Condition(str(each["type"]), status_of(each), str(each.get("reason")), str(each.get("message")))
        for each in resource.status.get("conditions") or []
        if isinstance(each, dict) and each.get("type") not in (None, *_SUMMARY)
    ]


def _errors(observed: Observed) -> Iterator[object]:
    """Yields the failures of actions and all of Meta's answers. Some of the answers are errors."""
    yield from observed.failed.values()
    if observed.meta is not None:
        yield from (observed.meta.token, observed.meta.number, observed.meta.account, observed.meta.app)
