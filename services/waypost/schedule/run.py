"""Performs one run: claims the tick, does its action, and reports the result.

A tick is identified by the uid of the BotSchedule and the planned minute. The first process that claims a
tick fixes its order. If that process is killed, the next one continues the same run. A run that has already
ended is only reported again.
"""

from datetime import datetime
from enum import IntEnum

import structlog
from pydantic import ValidationError
from sqlalchemy import Engine

from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts import order
from waypost.contracts.order import InvalidOrder, Order
from waypost.schedule import queueing
from waypost.schedule.actions.table import Action
from waypost.schedule.context import RunContext
from waypost.schedule.outcome import ActionOutcome, NotYet, RunRefused, RunResult
from waypost.schedule.report import report
from waypost.settings import Settings
from waypost.store import schedules
from waypost.store.schedules import Run, SendCounts, Tick
from waypost.telemetry import tracing

log = structlog.get_logger(__name__)


class ExitStatus(IntEnum):
    """Exit statuses of the process. After `NEVER`, the CronJob's pod failure policy ends the Job at once."""

    DONE = 0
    """The run is done, by this process or an earlier one."""
    AGAIN = 1
    """The run is not done, and a retry makes sense."""
    NEVER = 2
    """The run is not done, and a retry makes no sense."""


def perform(
    engine: Engine, settings: Settings, orders: Order, planned_at: datetime
) -> tuple[ExitStatus, dict[str, object]]:
    """Performs the run of this tick, or the part of it that an earlier process left. Returns exit status and report.

    Database errors propagate. The run then stays as it is, and another process may continue it.
    """
    tick = Tick(orders.uid, planned_at)
    with engine.begin() as connection:
        run = schedules.begin_or_resume(
            connection,
            tick,
            namespace=orders.namespace,
            name=orders.name,
            number_id=orders.number_id,
            orders=orders.model_dump(by_alias=True),
            traceparent=tracing.current_traceparent(),
        )
        schedules.delete_orders(connection, tick)
    if run.finished_at is not None:
        log.info("this tick was run before", attempts=run.attempts)
        return ExitStatus.DONE, report(
            planned_at,
            run.finished_at,
            result=run.result or "",
            detail=run.detail,
            recipients=run.recipients,
            skipped=run.skipped,
            sends=_sends(engine, tick),
        )
    log.info("run starts", attempt=run.attempts)
    try:
        outcome, wait_s = _act(engine, settings, order.convert(run.orders), tick, run)
    except NotYet as error:
        log.warning("run cannot go on yet", problem=str(error))
        sends = _sends(engine, tick)
        return ExitStatus.AGAIN, report(planned_at, None, result=RunResult.WAITING, detail=str(error), sends=sends)
    except InvalidOrder as error:
        return ExitStatus.NEVER, _finished(engine, tick, ActionOutcome(RunResult.INVALID_ORDER, str(error)))
    except RunRefused as error:
        outcome = ActionOutcome(error.result, error.detail, error.recipients)
        return ExitStatus.NEVER, _finished(engine, tick, outcome)
    return ExitStatus.DONE, _finished(engine, tick, outcome, wait_s=wait_s)


def parse_action(orders: Order) -> Action:
    """Returns the action that the order asks for.

    Raises `InvalidOrder` if the order is invalid or if this version cannot carry out the action.
    """
    # The stored order of a run that an older version claimed may contain the other actions as null.
    present = {name: value for name, value in orders.action.items() if value is not None}
    try:
        action = Action.model_validate(present)
    except ValidationError as error:
        raise InvalidOrder(order.explain(error, within="action")) from None
    name, entry, _ = action.chosen
    if entry.run is None:
        raise InvalidOrder(f"action.{name} cannot be carried out by this version")
    return action


def _act(engine: Engine, settings: Settings, orders: Order, tick: Tick, run: Run) -> tuple[ActionOutcome, float]:
    """Performs the action. Returns its outcome and the seconds to wait for the outcome of its messages."""

    def graph() -> GraphClient:
        return GraphClient(settings.graph_url, settings.graph_version, timeout_s=settings.graph_timeout_s)

    _, entry, model = parse_action(orders).chosen
    assert entry.run is not None, "parse_action refuses such an action"
    context = RunContext(
        engine=engine,
        order=orders,
        tick=tick,
        now=run.now,
        traceparent=tracing.current_traceparent(),
        registry_dir=settings.registry_dir,
        graph=graph,
    )
    return entry.run(context, model), settings.schedule_wait_s if entry.sends_messages else 0.0


def _finished(engine: Engine, tick: Tick, outcome: ActionOutcome, *, wait_s: float = 0.0) -> dict[str, object]:
    """Records the end of the run, then waits at most `wait_s` seconds for its messages. Returns the report."""
    with engine.begin() as connection:
        finished_at = schedules.finish(
            connection,
            tick,
            recipients=outcome.recipients,
            skipped=outcome.skipped,
            result=outcome.result,
            detail=outcome.detail,
        )
    return report(
        tick.planned_at,
        finished_at,
        result=outcome.result,
        detail=outcome.detail,
        recipients=outcome.recipients,
        skipped=outcome.skipped,
        sends=queueing.settled(engine, tick, within_s=wait_s),
    )


def _sends(engine: Engine, tick: Tick) -> SendCounts:
    with engine.connect() as connection:
        return schedules.sends_of_run(connection, tick)
