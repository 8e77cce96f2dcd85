"""Runs the CronJobs of the schedules in `waypost dev`, without Kubernetes.

This module replaces the CronJob controller and the kubelet. It writes the results of a run where Kubernetes
would write them, so that the operator finds them there when it reconciles the schedule.
"""

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from croniter import CroniterError, croniter  # type: ignore[import-untyped]

from waypost.dev.file_cluster import FileCluster
from waypost.dev.files import replace
from waypost.operator.cluster.interface import Manifest
from waypost.operator.schedule import children

log = structlog.get_logger(__name__)

_JOB_NAME = "batch.kubernetes.io/job-name"
_POD_VARIABLES = frozenset({"WAYPOST_SCHEDULE_JOB", "WAYPOST_SCHEDULE_ORDER", "WAYPOST_SCHEDULE_REPORT"}) | {
    "WAYPOST_REGISTRY_DIR"
}
RETRY_S = 10.0
"""Delay before a failed run is started again."""


class Process(Protocol):
    """The process of a run."""

    def poll(self) -> int | None:
        """Returns the process's exit status, or None while it runs."""

    def kill(self) -> None:
        """Ends the process at once."""


@dataclass
class _Job:
    name: str
    cron_job: Manifest
    planned_at: datetime
    process: Process | None
    pods: int = 1
    retry_at: float = 0.0


def due(cron_job: Manifest, now: datetime) -> datetime | None:
    """Returns the planned time of the run that is due now, or None if no run is due.

    The result is the last planned time. That run is due only if it was not started yet and its starting deadline
    has not passed. The function is pure.
    """
    spec, status = cron_job["spec"], cron_job.get("status") or {}
    if spec.get("suspend"):
        return None
    since = status.get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"]
    try:
        local = (now + timedelta(seconds=1)).astimezone(ZoneInfo(spec["timeZone"]))
        last: datetime = croniter(spec["schedule"], local).get_prev(datetime)
    except (CroniterError, ZoneInfoNotFoundError, ValueError):
        return None
    last = last.astimezone(UTC)
    if last <= datetime.fromisoformat(since) or now - last > timedelta(seconds=spec["startingDeadlineSeconds"]):
        return None
    return last


class CronJobs:
    """Runs the CronJobs of a `FileCluster`. `launch(name, environment)` starts a run.

    `folder` holds the orders and reports of the runs.
    """

    def __init__(
        self,
        cluster: FileCluster,
        folder: Path,
        launch: Callable[[str, Mapping[str, str]], Process],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._folder = folder
        self._launch = launch
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def check(self) -> None:
        """Starts due runs and records the results of runs that have ended.

        Call this method about once a second. It never blocks.
        """
        for job in list(self._jobs.values()):
            await self._check_job(job)
        now = datetime.fromtimestamp(self._clock(), UTC)
        for cron_job in self._cluster.all("CronJob"):
            if (planned_at := due(cron_job, now)) is not None and self._may_start(cron_job):
                await self._start(cron_job, planned_at)

    def stop(self) -> None:
        """Ends every run at once. The remaining work is not done. The same happens when a Job is deleted."""
        for job in self._jobs.values():
            if job.process is not None:
                job.process.kill()
        self._jobs.clear()

    def _may_start(self, cron_job: Manifest) -> bool:
        others = [job for job in self._jobs.values() if _name(job.cron_job) == _name(cron_job)]
        policy = cron_job["spec"].get("concurrencyPolicy")
        if policy == "Replace":
            for job in others:
                self._end(job)
        return policy != "Forbid" or not others

    async def _start(self, cron_job: Manifest, planned_at: datetime) -> None:
        name = f"{_name(cron_job)}-{int(planned_at.timestamp()) // 60}"
        job = _Job(name, cron_job, planned_at, None)
        if not self._run(job):
            return  # the operator has not written its order yet
        self._jobs[name] = job
        await self._write_pod_status(job, None)
        await self._write_cron_job_status(job, active=True)

    def _run(self, job: _Job) -> bool:
        namespace = job.cron_job["metadata"]["namespace"]
        secret = self._cluster.get("Secret", namespace, _name(job.cron_job))
        if secret is None:
            return False
        order, report = self._folder / f"{_name(job.cron_job)}.order.json", self._report(job)
        replace(order, base64.b64decode(secret["data"][children.ORDER_KEY]).decode())
        report.unlink(missing_ok=True)
        container = job.cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        container_environment = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        environment = {name: value for name, value in container_environment.items() if name not in _POD_VARIABLES}
        environment |= {
            "WAYPOST_SCHEDULE_JOB": job.name,
            "WAYPOST_SCHEDULE_ORDER": str(order),
            "WAYPOST_SCHEDULE_REPORT": str(report),
        }
        log.info("a schedule's run starts", job=job.name)
        job.process = self._launch(job.name, environment)
        return True

    async def _check_job(self, job: _Job) -> None:
        namespace = job.cron_job["metadata"]["namespace"]
        if self._cluster.get("CronJob", namespace, _name(job.cron_job)) is None:
            self._end(job)  # as the garbage collector would
            return
        if job.process is None:
            if self._clock() >= job.retry_at:
                job.pods += 1
                self._run(job)
            return
        if (status := job.process.poll()) is None:
            return
        retries = job.cron_job["spec"]["jobTemplate"]["spec"]["backoffLimit"]
        if status not in {0, children.NO_RETRY} and job.pods <= retries:
            job.process, job.retry_at = None, self._clock() + RETRY_S
            return
        del self._jobs[job.name]
        await self._write_pod_status(job, status)
        await self._write_cron_job_status(job, active=False)

    def _end(self, job: _Job) -> None:
        if job.process is not None:
            job.process.kill()
        del self._jobs[job.name]

    def _report(self, job: _Job) -> Path:
        return self._folder / f"{_name(job.cron_job)}.report.json"

    async def _write_pod_status(self, job: _Job, status: int | None) -> None:
        """Writes the pod of a CronJob's last run. If the run has ended, the pod has the exit status."""
        metadata = job.cron_job["metadata"]
        template = job.cron_job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]
        pod = self._cluster.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "labels": {**template["labels"], _JOB_NAME: job.name},
                },
            }
        )
        state: Manifest = {"running": {}}
        if status is not None:
            try:
                message = self._report(job).read_text()
            except OSError:
                message = ""
            reason = "Completed" if status == 0 else "Error"
            state = {
                "terminated": {"exitCode": status, "reason": reason, "message": message, "finishedAt": self._now()}
            }
        await self._cluster.write_status(pod, {"containerStatuses": [{"name": children.CONTAINER, "state": state}]})

    async def _write_cron_job_status(self, job: _Job, *, active: bool) -> None:
        metadata = job.cron_job["metadata"]
        now = self._cluster.get("CronJob", metadata["namespace"], metadata["name"])
        if now is None:
            return
        status: Manifest = {"lastScheduleTime": job.planned_at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        status |= {"active": [{"kind": "Job", "name": job.name}]} if active else {"lastSuccessfulTime": self._now()}
        await self._cluster.write_status(now, status)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _name(cron_job: Manifest) -> str:
    return str(cron_job["metadata"]["name"])
