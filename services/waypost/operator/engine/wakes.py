"""What a watch event means: is it a reason to reconcile, whom does it concern, and how soon? Pure."""

from collections.abc import Callable, Iterable
from typing import Any

from waypost.operator.api import conditions
from waypost.operator.api.condition_types import ConditionType, Reason
from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.api.number_models import GROUP, RECONCILE_REQUESTED
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine.object_cache import Key

Reference = tuple[str, str, str]
"""Kind, namespace, name of what an object depends on."""

CLAIM = "phoneNumberId"
"""Kind of the reference that all numbers with one `phoneNumberId` share: when one goes, another may have it."""

SCHEDULE_NAMESPACE = f"{GROUP}/schedule-namespace"
SCHEDULE_NAME = f"{GROUP}/schedule-name"
"""Labels of a CronJob: whose it is."""

UNREADY_SPREAD_S = 30.0


def references(manifest: Manifest) -> set[Reference]:
    """What the object depends on; a change of any of it is a reason to reconcile. Tolerates any spec."""
    namespace = manifest["metadata"]["namespace"]
    spec = manifest.get("spec") or {}
    found: set[Reference] = set()
    if manifest["kind"] == NUMBER:
        found |= _named("Secret", namespace, _at(spec, "credentialsRef", "name"))
        found |= _named("ConfigMap", namespace, _at(spec, "bot", "configMapRef", "name"))
        found |= _named(CLAIM, "", _at(spec, "phoneNumberId"))
    elif manifest["kind"] == SCHEDULE:
        found |= _named(NUMBER, namespace, _at(spec, "numberRef", "name"))
        found |= _named("ConfigMap", namespace, _at(spec, "action", "message", "audience", "configMapRef", "name"))
    return found


def wish(manifest: Manifest) -> object:
    """What somebody asks of us with this object; two equal ones ask for nothing new, whatever else has changed.

    Its status and the bookkeeping in its metadata are not in it, or each write of ours would wake us again.
    """
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("uid"),
        metadata.get("generation"),
        bool(metadata.get("deletionTimestamp")),
        tuple(sorted((key, value) for key, value in annotations.items() if key.startswith(f"{GROUP}/"))),
    )


def offer(manifest: Manifest) -> object:
    """What schedules get from this number (`schedule_plan.unusable`): when it changes they are woken.

    Whether messages reach a number that is connected is not in it, or each schedule would be looked at again for it.
    """
    metadata, status = manifest["metadata"], manifest.get("status")
    reason = conditions.reason_of(status, ConditionType.READY)
    is_connected = conditions.is_true(status, ConditionType.REGISTERED)
    told = reason if not is_connected or reason == Reason.CONFLICT else None
    return metadata.get("uid"), bool(metadata.get("deletionTimestamp")), is_connected, told


def run_state(cron_job: Manifest) -> object:
    """What of a CronJob its schedule's status tells, or must be repaired."""
    status = cron_job.get("status") or {}
    metadata = cron_job["metadata"]
    active = tuple(sorted(str(each.get("name")) for each in status.get("active") or () if isinstance(each, dict)))
    return (
        metadata.get("uid"),
        metadata.get("generation"),
        status.get("lastScheduleTime"),
        status.get("lastSuccessfulTime"),
        active,
    )


def owner(cron_job: Manifest) -> Key | None:
    """The schedule that a CronJob was made for."""
    labels = cron_job["metadata"].get("labels") or {}
    namespace, name = labels.get(SCHEDULE_NAMESPACE), labels.get(SCHEDULE_NAME)
    return (SCHEDULE, namespace, name) if namespace and name else None


def first_delay_s(manifest: Manifest, *, now: float, resync_s: float, draw: Callable[[], float]) -> float:
    """When to look first at an object that was there before this process: a restart must not ask Meta of all at once.

    What nobody has seen to yet goes first, what failed keeps its back-off, what is well comes some time within the
    resync interval. `now` in seconds since 1970.
    """
    metadata = manifest["metadata"]
    status = manifest.get("status") or {}
    requested = (metadata.get("annotations") or {}).get(RECONCILE_REQUESTED)
    if (
        metadata.get("deletionTimestamp")
        or status.get("observedGeneration") != metadata.get("generation")
        or (requested is not None and requested != status.get("lastHandledReconcileAt"))
    ):
        return 0.0
    planned = conditions.seconds(status.get("nextAttemptTime"))
    if planned is not None and planned > now:
        return min(planned - now, resync_s)
    is_ready = conditions.is_true(status, ConditionType.READY)
    return draw() * (resync_s if is_ready else min(UNREADY_SPREAD_S, resync_s))


class Dependents:
    """Who depends on what."""

    def __init__(self) -> None:
        self._references: dict[Key, frozenset[Reference]] = {}
        self._dependents: dict[Reference, set[Key]] = {}

    def put(self, key: Key, references: Iterable[Reference]) -> None:
        """`key` depends on exactly these."""
        now, before = frozenset(references), self._references.get(key, frozenset())
        for gone in before - now:
            self._dependents[gone].discard(key)
            if not self._dependents[gone]:
                del self._dependents[gone]
        for new in now - before:
            self._dependents.setdefault(new, set()).add(key)
        if now:
            self._references[key] = now
        else:
            self._references.pop(key, None)

    def of(self, reference: Reference) -> frozenset[Key]:
        """Who depends on it."""
        return frozenset(self._dependents.get(reference, ()))


def _named(kind: str, namespace: str, name: object) -> set[Reference]:
    return {(kind, namespace, name)} if isinstance(name, str) and name else set()


def _at(tree: Any, *path: str) -> object:
    for step in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(step)
    return tree
