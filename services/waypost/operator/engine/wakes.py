"""Decides whether a watch event is a reason to reconcile, which objects it concerns, and how soon.

The decisions have no side effects.
"""

from collections.abc import Callable, Iterable
from typing import Any

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api import conditions
from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.api.number_models import GROUP, RECONCILE_REQUESTED
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine.object_cache import Key
from waypost.operator.number.claims import was_proven

Reference = tuple[str, str, str]
"""Kind, namespace and name of something that an object depends on."""

CLAIM = "phoneNumberId"
"""Kind of a reference that stands for no object: all numbers with one `phoneNumberId` share it, because when one of
them goes or loses its proof, another may get the phone number."""

SCHEDULE_NAMESPACE = f"{GROUP}/schedule-namespace"
"""Label of a CronJob that holds the namespace of its schedule."""
SCHEDULE_NAME = f"{GROUP}/schedule-name"
"""Label of a CronJob that holds the name of its schedule."""

UNREADY_SPREAD_S = 30.0
"""Seconds after a restart within which objects that are not ready are reconciled."""


def references(manifest: Manifest) -> set[Reference]:
    """Returns references to everything that the object depends on.

    A change of any referenced object is a reason to reconcile. An invalid spec causes no error.
    """
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


def user_request(manifest: Manifest) -> object:
    """Returns a value that changes whenever users ask for something new with this object.

    The value contains neither the status nor the rest of the metadata. Otherwise each write of the operator would
    cause another reconcile.
    """
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("uid"),
        metadata.get("generation"),
        bool(metadata.get("deletionTimestamp")),
        tuple(sorted((key, value) for key, value in annotations.items() if key.startswith(f"{GROUP}/"))),
    )


def availability(manifest: Manifest) -> object:
    """Returns a value that changes whenever schedules may judge this number differently (`schedule.plan.unusable`).

    When the value changes, the number's schedules are reconciled. The value does not contain the reason why a
    connected number is not ready. Otherwise each change of that reason would reconcile each schedule.
    """
    metadata, status = manifest["metadata"], manifest.get("status")
    reason = conditions.reason_of(status, ConditionType.READY)
    is_connected = conditions.is_true(status, ConditionType.REGISTERED)
    relevant_reason = reason if not is_connected or reason == Reason.CONFLICT else None
    # Runs that check a token mount the Secret with the number's entry.
    shard = (status or {}).get("registryShard")
    return metadata.get("uid"), bool(metadata.get("deletionTimestamp")), is_connected, relevant_reason, shard


def claim_state(manifest: Manifest) -> object:
    """Returns a value that changes whenever the object's claim becomes proven at Meta or is refused there.

    When the value changes, the other objects that claim the same phone number are reconciled.
    """
    return manifest["kind"] == NUMBER and was_proven(manifest.get("status"))


def run_state(cron_job: Manifest) -> object:
    """Returns a value that changes whenever a CronJob contains something that its schedule must report or repair."""
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


def schedule_of(cron_job: Manifest) -> Key | None:
    """Returns the schedule that a CronJob was made for."""
    labels = cron_job["metadata"].get("labels") or {}
    namespace, name = labels.get(SCHEDULE_NAMESPACE), labels.get(SCHEDULE_NAME)
    return (SCHEDULE, namespace, name) if namespace and name else None


def first_delay_s(manifest: Manifest, *, now: float, resync_s: float, draw: Callable[[], float]) -> float:
    """Returns in how many seconds to reconcile an object that is older than this process.

    `now` is in seconds since 1970. Objects with changes that no operator has acted on come first. Objects whose
    reconcile failed keep their back-off. All other objects are spread over the resync interval, so that a restart
    does not ask Meta about all of them at once.
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
    """Records which objects depend on which references."""

    def __init__(self) -> None:
        self._references: dict[Key, frozenset[Reference]] = {}
        self._dependents: dict[Reference, set[Key]] = {}

    def put(self, key: Key, references: Iterable[Reference]) -> None:
        """Records that `key` depends on exactly these references."""
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
        """Returns the objects that depend on `reference`."""
        return frozenset(self._dependents.get(reference, ()))


def _named(kind: str, namespace: str, name: object) -> set[Reference]:
    return {(kind, namespace, name)} if isinstance(name, str) and name else set()


def _at(tree: Any, *path: str) -> object:
    for step in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(step)
    return tree
