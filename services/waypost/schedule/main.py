"""Implements the process of one run. The process reads its order, performs it, and writes its report."""

import os
from dataclasses import dataclass

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import StatusCode
from structlog.contextvars import bound_contextvars

from waypost.contracts import order
from waypost.contracts.order import InvalidOrder
from waypost.schedule import report, tick
from waypost.schedule.outcome import RunResult
from waypost.schedule.run import ExitStatus, parse_action, perform
from waypost.schedule.tick import NoTick
from waypost.settings import Settings
from waypost.store.connection.database import connect
from waypost.telemetry import logs, tracing

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Command:
    """Arguments of one call of `waypost schedule run`."""

    settings: Settings
    at: str | None = None
    """The planned minute. It must be given if the Job's name does not contain it."""


def run(command: Command) -> int:
    """Runs `waypost schedule run` and returns the exit status. Database errors propagate."""
    settings = command.settings
    logs.configure("schedule", settings.log_level)
    traces = tracing.configure("schedule", settings.trace_dir)
    try:
        return _run(command)
    finally:
        traces.shutdown()


def _run(command: Command) -> int:
    settings = command.settings
    try:
        planned_at = tick.parse_minute(command.at) if command.at else tick.minute_of_job(settings.schedule_job)
    except NoTick as error:
        log.error("this is no run of a schedule", problem=str(error))  # noqa: TRY400 - no defect
        return ExitStatus.NEVER
    try:
        orders = order.load(settings.schedule_order.read_bytes())
        parse_action(orders)  # before anything is claimed
    except InvalidOrder as error:
        log.error("the order cannot be carried out", problem=str(error))  # noqa: TRY400 - no defect
        content = report.report(planned_at, None, result=RunResult.INVALID_ORDER, detail=str(error))
        report.write(settings.schedule_report, content)
        return ExitStatus.NEVER
    engine = connect(settings.database_url, application="waypost-schedule", pool_size=1)
    link = tracing.link_to(os.environ.get("TRACEPARENT"))
    schedule = f"{orders.namespace}/{orders.name}"
    try:
        with (
            bound_contextvars(schedule=schedule, planned_at=planned_at.isoformat(), number_id=orders.number_id),
            # Each run is the root of a trace: all runs of a CronJob get the same TRACEPARENT from its template.
            tracing.tracer().start_as_current_span(
                "schedule run", context=Context(), links=[link] if link else []
            ) as span,
        ):
            span.set_attributes(
                {
                    "waypost.namespace": orders.namespace,
                    "waypost.name": orders.name,
                    "waypost.number_id": orders.number_id,
                    "waypost.planned_at": planned_at.isoformat(),
                }
            )
            status, content = perform(engine, settings, orders, planned_at)
            span.set_attribute("waypost.result", str(content["result"]))
            if status is not ExitStatus.DONE:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", str(content["result"]))
            log.info("run ended", **{name: content[name] for name in _REPORTED}, detail=content["message"])
        report.write(settings.schedule_report, content)
    finally:
        engine.dispose()
    return status


_REPORTED = ("result", "recipients", "queued", "sent", "failed", "skipped")
