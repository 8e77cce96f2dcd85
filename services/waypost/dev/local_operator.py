"""The operator of `waypost dev`. It has the same controller and reconcilers as in a cluster, but no API server.

It reads the declared objects from `DIR/objects.json`, which `waypost dev` writes from the YAML files. It
writes all objects with their status into `DIR/cluster.json`, and the objects that are not ready into
`DIR/operator.json`. It writes the registry's Secrets as files for the other processes.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts.condition_types import ConditionStatus, ConditionType
from waypost.dev.cronjobs import CronJobs, Process
from waypost.dev.file_cluster import FileCluster
from waypost.dev.files import replace
from waypost.dev.registry_folder import RegistryFolder
from waypost.operator.api.conditions import find, status_of
from waypost.operator.api.kinds import NUMBER, OURS, SCHEDULE
from waypost.operator.api.number_models import RECONCILE_REQUESTED
from waypost.operator.bots.watch import BotWatch
from waypost.operator.cluster.interface import Manifest
from waypost.operator.cluster.registry_shards import LABELS
from waypost.operator.engine.controller import Controller, Reconciler
from waypost.operator.engine.event_router import Change, EventRouter
from waypost.operator.engine.object_cache import ObjectCache
from waypost.operator.engine.workers import Workers
from waypost.operator.number.reconcile import NumberReconciler
from waypost.operator.options import OperatorOptions
from waypost.operator.schedule.reconcile import ScheduleReconciler
from waypost.settings import Settings
from waypost.telemetry import logs, probes, tracing

log = structlog.get_logger(__name__)

NAMESPACE = "waypost"
"""The namespace that stands for the release's namespace in a cluster."""
OBJECTS, STATE, CLUSTER = "objects.json", "operator.json", "cluster.json"
ADDRESSES = "dev.json"
POLL_S = 0.1
BOTS_S = 2.0
"""Seconds between two looks at the bots. There are few workers, and their developer waits for the result."""
SAVE_SHARE = 5
"""At most one part in this many of the time is spent on saving the state."""
CRON_CHECK_S = 1.0
CONCURRENCY = 8
NOT_RECONCILED = "not reconciled yet"
_MANAGED_BY = "app.kubernetes.io/managed-by"
_DECLARED_KINDS = (*OURS, "Secret", "ConfigMap")


class LocalOperator:
    """The operator of `waypost dev`. The module's docstring lists the files in `folder`."""

    def __init__(
        self, folder: Path, registry_dir: Path, graph: GraphClient, public_url: str, plugins: AllowedPlugins
    ) -> None:
        self._folder = folder
        self._registry = RegistryFolder(registry_dir)
        self._declared_version: tuple[int, int] | None = None
        self._digest = ""
        self._incarnation = ""
        self._is_dirty = False
        self._next_save_at = 0.0
        options = OperatorOptions(
            release_namespace=NAMESPACE,
            public_url=public_url,
            webhook_probe_url=public_url,
            route_poll_s=0.2,
            image="local",
            plugins=plugins,
        )
        self.cluster = FileCluster(changed=self._changed, release_namespace=NAMESPACE)
        cache = ObjectCache()
        cache.is_complete = True
        bots = BotWatch(self._worker_addresses, interval_s=BOTS_S)
        self._numbers = NumberReconciler(self.cluster, graph, options, bots=bots)
        reconcilers: dict[str, Reconciler] = {
            NUMBER: self._numbers,
            SCHEDULE: ScheduleReconciler(self.cluster, options),
        }
        controller = Controller(self.cluster, cache, reconcilers, resync_s=options.resync_s)
        self._workers = Workers(controller, concurrency=CONCURRENCY)
        self._router = EventRouter(cache, self._workers, resync_s=options.resync_s)
        self._cron_jobs = CronJobs(self.cluster, folder / "runs", _launch)

    def not_ready(self) -> str | None:
        """Returns the reason why the operator is not ready yet, or None if it is ready. The probe calls this method."""
        return None if self._digest else "no objects are declared yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Reconciles until the given event is set, and saves the state for the next process."""
        self._restore()
        self._registry.remove_others()
        async with asyncio.TaskGroup() as group:
            working = group.create_task(self._workers.run())
            background = [
                group.create_task(self._run_schedules()),
                group.create_task(self._numbers.watch(self._workers.wake)),
            ]
            while not stop.is_set():
                self._declare()
                self._save(at_once=False)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), POLL_S)
            self._workers.stop()
            for task in background:
                task.cancel()
            await asyncio.wait([working], timeout=10)
            working.cancel()
        self._cron_jobs.stop()
        self._save()

    async def _worker_addresses(self) -> list[str]:
        """Returns the addresses of the probe ports of the workers that `waypost dev` has started."""
        try:
            metrics = json.loads((self._folder / ADDRESSES).read_text(encoding="utf-8"))["metrics"]
        except (OSError, ValueError, KeyError):
            return []
        return [url.removesuffix("/metrics") for name, url in metrics.items() if name.startswith("worker")]

    async def _run_schedules(self) -> None:
        while True:
            await self._cron_jobs.check()
            await asyncio.sleep(CRON_CHECK_S)

    def _restore(self) -> None:
        try:
            self.cluster.load((self._folder / CLUSTER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            # It is only a cache of the declared objects and of the state at Meta, so it can be rebuilt.
            log.warning("the stored state cannot be read and is rebuilt")
            return
        for manifest in self.cluster.all():
            self._changed(manifest, exists=True)

    def _declare(self) -> None:
        """Puts the declared objects into the cluster if they have changed."""
        path = self._folder / OBJECTS
        try:
            stat = path.stat()
            if (version := (stat.st_ino, stat.st_mtime_ns)) == self._declared_version:
                return
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        self._declared_version = version
        self._incarnation = str(content["incarnation"])
        declared = set()
        for manifest in content["objects"]:
            if manifest["kind"] == NUMBER:
                # A restarted simulator has lost every callback. Reconcile now, not only at the next resync.
                annotations = manifest["metadata"].setdefault("annotations", {})
                annotations[RECONCILE_REQUESTED] = self._incarnation
            declared.add(_key(self.cluster.put(manifest)))
        for kind in _DECLARED_KINDS:
            for manifest in self.cluster.all(kind):
                labels = manifest["metadata"].get("labels") or {}
                if _key(manifest) not in declared and labels.get(_MANAGED_BY) != LABELS[_MANAGED_BY]:
                    self.cluster.remove(*_key(manifest))
        self._digest = str(content["digest"])
        self._is_dirty = True

    def _changed(self, manifest: Manifest, exists: bool) -> None:
        change = Change.MODIFIED if exists else Change.DELETED
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind in OURS:
            self._router.on_own(change, manifest)
        elif kind in ("Secret", "ConfigMap"):
            self._router.on_referenced(change, manifest)
        elif kind == "CronJob":
            self._router.on_cron_job(change, manifest)
        if kind == "Secret":
            self._registry.update(name, manifest.get("data") or {} if exists else {})
        self._is_dirty = True

    def _save(self, *, at_once: bool = True) -> None:
        began = time.monotonic()
        if not self._is_dirty or not (at_once or began >= self._next_save_at):
            return
        self._is_dirty = False
        replace(self._folder / CLUSTER, self.cluster.dump())
        state = {"digest": self._digest, "numbers": self._unready(NUMBER), "schedules": self._unready(SCHEDULE)}
        replace(self._folder / STATE, json.dumps(state))
        # With thousands of objects this takes a second, in which nothing is reconciled.
        self._next_save_at = began + SAVE_SHARE * (time.monotonic() - began)

    def _unready(self, kind: str) -> dict[str, str]:
        """Returns the objects of this kind that are not ready, each with the reason."""
        found = {}
        for manifest in self.cluster.all(kind):
            metadata, status = manifest["metadata"], manifest.get("status") or {}
            ready = find(status, ConditionType.READY) or {}
            is_current = status.get("observedGeneration") == metadata["generation"]
            if kind == NUMBER and not (manifest.get("spec") or {}).get("suspend"):
                is_current = is_current and status.get("lastHandledReconcileAt") == self._incarnation
            if status_of(ready) is not ConditionStatus.TRUE or not is_current:
                message = str(ready.get("message") or ready.get("reason") or NOT_RECONCILED)
                found[f"{metadata['namespace']}/{metadata['name']}"] = message if is_current else NOT_RECONCILED
        return found


def run(settings: Settings, folder: Path) -> None:
    """Runs the process of the operator until SIGTERM. `waypost dev` starts this process."""
    logs.configure("operator", settings.log_level)
    traces = tracing.configure("operator", settings.trace_dir)
    try:
        asyncio.run(_run(settings, folder))
    finally:
        traces.shutdown()


async def _run(settings: Settings, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with GraphClient(settings.graph_url, settings.graph_version, timeout_s=settings.graph_timeout_s) as graph:
        plugins = AllowedPlugins.read(settings.bot_plugins)
        operator = LocalOperator(folder, settings.registry_dir, graph, settings.public_url, plugins)
        serving = probes.serve(settings.probe_port, ready=operator.not_ready, host=settings.host)
        try:
            await operator.run(stop)
        finally:
            serving.close()


def _launch(name: str, environment: Mapping[str, str]) -> Process:
    log.info("a run of a schedule", job=name)
    return subprocess.Popen(
        [sys.executable, "-m", "waypost.cli", "schedule", "run"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


def _key(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
