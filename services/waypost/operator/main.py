"""The process `waypost operator`, which reconciles numbers and schedules.

If there are several replicas, only one of them works at a time.
"""

import asyncio
import gc
import os
import platform
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping

import structlog
from pydantic import TypeAdapter, ValidationError

from waypost.allowed_plugins import AllowedPlugins
from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.cluster.interface import Cluster
from waypost.operator.cluster.leader import LeaseLost
from waypost.operator.engine.controller import Reconciler
from waypost.operator.engine.runtime import Operator, RuntimeOptions
from waypost.operator.meta.budget_handover import BudgetHandover
from waypost.operator.meta.measured_graph import MeasuredGraph
from waypost.operator.number.reconcile import NumberReconciler
from waypost.operator.options import JobOptions, OperatorOptions
from waypost.operator.schedule.reconcile import ScheduleReconciler
from waypost.settings import Settings, SettingsError
from waypost.telemetry import logs, probes, tracing

log = structlog.get_logger(__name__)

LOST_S = 4.0
"""Seconds after which a process that lost its Lease exits, even if its work is not finished. The Lease allows 5 s."""

FAILED = 1


def options(settings: Settings) -> OperatorOptions:
    """Returns the options that the settings ask for. Raises `SettingsError`."""
    try:
        job = TypeAdapter(JobOptions).validate_json(settings.job_options)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise SettingsError(f"WAYPOST_JOB_OPTIONS: {wrong}") from None
    namespaces = tuple(sorted({each.strip() for each in settings.namespaces.split(",")} - {""}))
    return OperatorOptions(
        release_namespace=settings.release_namespace,
        public_url=settings.public_url,
        webhook_probe_url=settings.webhook_probe_url or None,
        image=settings.job_image,
        service_account=settings.job_service_account,
        namespaces=namespaces or None,
        plugins=AllowedPlugins.read(settings.bot_plugins),
        resync_s=settings.resync_s,
        graph_calls_per_hour=settings.graph_calls_per_hour,
        quota_registry_bytes=settings.quota_registry_bytes,
        job=job,
    )


def run(settings: Settings) -> None:
    """Runs the operator until SIGTERM or SIGINT. Exits with status 1 when a new process is needed.

    The settings `release_namespace`, `public_url` and `job_image` are required. Raises `SettingsError`.
    """
    chosen = options(settings)
    logs.configure("operator", settings.log_level)
    traces = tracing.configure("operator", settings.trace_dir)
    # Freeze what is imported: the collector then runs sooner on the rest (kopf's objects refer to each other), and
    # reading a thousand objects takes less memory.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(_run(settings, chosen))
    except Exception as error:
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, SettingsError):
                raise cause from None
        if all(isinstance(cause, LeaseLost) for cause in causes):
            log.error("this operator no longer leads and ends", reason=str(causes[0]))  # noqa: TRY400 - expected
        else:
            log.exception("the operator ends with an error")
        raise SystemExit(FAILED) from None
    finally:
        traces.shutdown()


async def _run(settings: Settings, chosen: OperatorOptions) -> None:
    async with MeasuredGraph(
        settings.graph_url,
        settings.graph_version,
        timeout_s=settings.graph_timeout_s,
        connections=settings.operator_concurrency,
    ) as graph:

        def reconcilers(cluster: Cluster) -> Mapping[str, Reconciler]:
            handover = BudgetHandover(cluster, chosen.release_namespace, chosen.graph_calls_per_hour)
            return {
                NUMBER: NumberReconciler(cluster, graph, chosen, handover=handover),
                SCHEDULE: ScheduleReconciler(cluster, chosen),
            }

        runtime = RuntimeOptions(
            identity=f"{os.environ.get('POD_NAME') or platform.node()}_{uuid.uuid4().hex[:8]}",
            kubeconfig=settings.kubeconfig,
            replicas=settings.operator_replicas,
            concurrency=settings.operator_concurrency,
        )
        operator = Operator(chosen, runtime, reconcilers, on_lease_lost=_end_soon)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):  # until kopf sets its own
            loop.add_signal_handler(number, operator.stop)
        serving = probes.serve(
            settings.probe_port, ready=operator.not_ready, alive=operator.not_alive, host=settings.host
        )
        log.info("operator starts", probe_port=serving.port, release_namespace=chosen.release_namespace)
        try:
            await operator.run()
        finally:
            serving.close()
            log.info("operator stopped")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the single errors inside an exception group. An error that is no group is yielded itself.

    Task groups raise such exception groups.
    """
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    else:
        yield error


def _end_soon() -> None:
    timer = threading.Timer(LOST_S, os._exit, [FAILED])
    timer.daemon = True
    timer.start()
