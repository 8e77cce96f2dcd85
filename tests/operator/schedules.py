"""Helpers for tests of schedules: a cluster in memory, a connected number, and objects as a tenant writes them."""

from dataclasses import dataclass, field
from typing import Any

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.interface import Manifest, Stored
from waypost.operator.engine.outcome import Result
from waypost.operator.options import OperatorOptions
from waypost.operator.schedule.reconcile import ScheduleReconciler

TRUE, FALSE, UNKNOWN = ConditionStatus
RELEASE = "waypost-system"
TEAM = "team-a"
NUMBER_ID = "106540352242922"
OPTIONS = OperatorOptions(
    release_namespace=RELEASE, public_url="https://hooks.example.org", image="registry.example.org/waypost@sha256:0"
)
NOW = 1_795_424_400.0
"""Monday, 2026-11-23 09:00 UTC."""
CONTACT = "+393331234567"


def message(**action: Any) -> dict[str, Any]:
    """Returns an action that sends a message."""
    given = {"template": {"name": "weekly_news", "language": "it"}, "audience": {"contacts": [CONTACT]}}
    return {"message": given | action}


def schedule(name: str = "weekly-news", namespace: str = TEAM, **spec: Any) -> Manifest:
    """Returns a schedule as a user writes it."""
    given = {
        "numberRef": {"name": "support"},
        "schedule": "0 9 * * 1",
        "timeZone": "Europe/Rome",
        "action": message(),
    }
    return {
        "apiVersion": "waypost.dev/v1alpha1",
        "kind": "BotSchedule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": given | spec,
    }


def number(name: str = "support", namespace: str = TEAM, phone_number_id: str = NUMBER_ID) -> Manifest:
    """Returns a number as a user writes it."""
    spec = {"phoneNumberId": phone_number_id, "wabaId": "102290129340398", "credentialsRef": {"name": "support-meta"}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "waypost.dev/v1alpha1", "kind": "WhatsAppNumber", "metadata": metadata, "spec": spec}


def number_status(
    ready: ConditionStatus = TRUE, reason: Reason = Reason.AS_DESIRED, *, registered: ConditionStatus = TRUE
) -> dict[str, Any]:
    """Returns the status of a number."""
    return {
        "conditions": [
            {"type": ConditionType.READY, "status": ready, "reason": reason},
            {"type": ConditionType.REGISTERED, "status": registered, "reason": Reason.CONNECTED},
        ],
        "registryShard": 3,
    }


class CountingCluster(FileCluster):
    """A cluster that records its writes, and can fail after one of them."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: NOW, release_namespace=RELEASE)
        self.writes: list[str] = []
        self.fail_at: int | None = None
        """Number of the write after which it raises `Killed`, as if the process was killed."""
        self.refuse: Exception | None = None
        """Error with which the API server answers to a CronJob."""

    def _store(self, key: tuple[str, str, str], manifest: Manifest) -> Manifest:
        """Gives each object a uid that is the same in every test, so that whole clusters can be compared."""
        before = self._objects.get(key)
        manifest["metadata"]["uid"] = before["metadata"]["uid"] if before else f"{key[2]}-{len(self._objects)}"
        return super()._store(key, manifest)

    def _count(self, what: str) -> None:
        self.writes.append(what)
        if len(self.writes) == self.fail_at:
            raise Killed

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        if self.refuse is not None and manifest["kind"] == "CronJob":
            raise self.refuse
        applied = await super().apply(manifest, manager=manager)
        self._count(f"apply {manifest['kind']}")
        return applied

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        await super().delete(kind, namespace, name)
        self._count(f"delete {kind}")

    async def write_status(self, manifest: Manifest, status: Manifest) -> Manifest:
        written = await super().write_status(manifest, status)
        self._count("status")
        return written

    async def write_metadata(self, manifest: Manifest, patch: Manifest) -> Manifest:
        written = await super().write_metadata(manifest, patch)
        self._count("metadata")
        return written


class Killed(BaseException):
    """Raised to simulate that the process is killed."""


@dataclass
class Clock:
    """A clock that a test moves by hand."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Team:
    """A namespace with its number, and with the reconciler of its schedules."""

    cluster: CountingCluster = field(default_factory=CountingCluster)
    clock: Clock = field(default_factory=Clock)
    options: OperatorOptions = OPTIONS

    async def with_number(self, **status: Any) -> "Team":
        """Adds the number. By default the number is connected."""
        await self.cluster.write_status(self.cluster.put(number()), number_status(**status))
        self.cluster.writes.clear()
        return self

    async def reconcile(self, name: str = "weekly-news") -> Result:
        """Reconciles or finalizes the schedule once, as the controller does."""
        manifest = self.cluster.get("BotSchedule", TEAM, name)
        assert manifest is not None
        reconciler = ScheduleReconciler(self.cluster, self.options, clock=self.clock)
        if manifest["metadata"].get("deletionTimestamp"):
            return await reconciler.finalize(manifest)
        return await reconciler.reconcile(manifest)

    def status(self, name: str = "weekly-news") -> dict[str, Any]:
        """Returns the status of the schedule."""
        manifest = self.cluster.get("BotSchedule", TEAM, name)
        assert manifest is not None
        status: dict[str, Any] = manifest.get("status", {})
        return status

    def condition(self, type_: str, name: str = "weekly-news") -> tuple[str, str]:
        """Returns the status and reason of a condition."""
        found = next(each for each in self.status(name)["conditions"] if each["type"] == type_)
        return found["status"], found["reason"]

    def cron_job(self) -> Manifest:
        """Returns the only CronJob."""
        (found,) = self.cluster.all("CronJob")
        return found

    async def order(self) -> Stored:
        """Returns the only Secret, which holds the order."""
        (found,) = self.cluster.all("Secret")
        stored = await self.cluster.secret(RELEASE, found["metadata"]["name"])
        assert stored is not None
        return stored
