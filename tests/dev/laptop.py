"""A cluster in memory with one schedule, whose CronJobs are run without Kubernetes."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waypost.dev.cronjobs import CronJobs, Process
from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.interface import Manifest
from waypost.operator.options import OperatorOptions
from waypost.operator.schedule.reconcile import ScheduleReconciler

NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()
NUMBER = "106540352242922"
REPORT = {"result": "Succeeded", "recipients": 1, "sent": 1, "finishedAt": "2026-11-23T09:00:07Z"}


class Run:
    """A simulated process of a run. It ends when the test says so."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.status: int | None = None

    def end(self, status: int, report: dict[str, Any] | None = None) -> None:
        if report is not None:
            Path(self.environment["WAYPOST_SCHEDULE_REPORT"]).write_text(json.dumps(report))
        self.status = status

    @property
    def order(self) -> dict[str, Any]:
        """Returns the content of the run's order file."""
        content: dict[str, Any] = json.loads(Path(self.environment["WAYPOST_SCHEDULE_ORDER"]).read_text())
        return content

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.status = -9


class Laptop:
    """A cluster in memory with one schedule. Its CronJobs are run without Kubernetes."""

    def __init__(self, folder: Path) -> None:
        self.now = NINE - 30
        self.cluster = FileCluster(clock=lambda: self.now)
        self.runs: list[Run] = []
        self.launch: Callable[[str, Mapping[str, str]], Process] = self._simulate
        """Starts a run. By default the run is simulated."""
        self._folder = folder
        self.cron_jobs = self._controller()
        self._reconciler = ScheduleReconciler(
            self.cluster,
            OperatorOptions(release_namespace="waypost", public_url="http://x"),
            clock=lambda: self.now,
        )

    def _controller(self) -> CronJobs:
        return CronJobs(self.cluster, self._folder, self._start, clock=lambda: self.now)

    def _start(self, name: str, environment: Mapping[str, str]) -> Process:
        return self.launch(name, environment)

    def _simulate(self, _name: str, environment: Mapping[str, str]) -> Run:
        self.runs.append(Run(environment))
        return self.runs[-1]

    async def add(self, **spec: Any) -> None:
        """Adds a connected number with its schedule and reconciles them."""
        number = {"phoneNumberId": NUMBER, "wabaId": "102290129340398", "credentialsRef": {"name": "meta"}}
        stored = self.cluster.put(_object("WhatsAppNumber", "support", number))
        condition = {"type": "Registered", "status": "True", "reason": "Connected"}
        await self.cluster.write_status(stored, {"conditions": [condition]})
        fields = {
            "numberRef": {"name": "support"},
            "schedule": "*/5 * * * *",
            "timeZone": "Europe/Rome",
            "action": {"message": {"text": "hello", "audience": {"contacts": ["+393331234567"]}}},
        }
        self.cluster.put(_object("BotSchedule", "news", fields | spec))
        await self.reconcile()

    async def reconcile(self) -> None:
        """Reconciles the schedule."""
        found = self.cluster.get("BotSchedule", "team-a", "news")
        assert found is not None
        if found["metadata"].get("deletionTimestamp"):
            await self._reconciler.finalize(found)
        else:
            await self._reconciler.reconcile(found)

    def edit(self, **spec: Any) -> None:
        """Changes the spec of the schedule, as a user does with `kubectl apply`. Nothing is reconciled."""
        found = self.cluster.get("BotSchedule", "team-a", "news")
        assert found is not None
        self.cluster.put(_object("BotSchedule", "news", found["spec"] | spec))

    async def forget_runs(self) -> None:
        """Makes the CronJob controller forget what it has started, as if its last writes were lost."""
        for cron_job in self.cluster.all("CronJob"):
            await self.cluster.write_status(cron_job, {})
        self.cron_jobs = self._controller()

    async def check(self, at: float) -> None:
        """Sets the clock to `at` and checks the CronJobs."""
        self.now = at
        await self.cron_jobs.check()

    @property
    def last_run(self) -> dict[str, Any]:
        """Returns `lastRun` of the schedule's status."""
        found = self.cluster.get("BotSchedule", "team-a", "news")
        assert found is not None
        last: dict[str, Any] = found["status"].get("lastRun", {})
        return last


def _object(kind: str, name: str, spec: dict[str, Any]) -> Manifest:
    metadata = {"name": name, "namespace": "team-a"}
    return {"apiVersion": "waypost.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
