"""One run: claim the tick, do its action, say what came of it.

The tick's identity is (uid of the BotSchedule, planned minute). Whoever takes it up first fixes what it does; a process
that is killed leaves a run that the next one goes on with, and a run that has ended is only reported once more.
"""

from datetime import datetime

import msgspec
import structlog
from sqlalchemy import Engine

from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts import order
from waypost.contracts.order import InvalidOrder, MessageAction, Order
from waypost.schedule.actions import message, token_check
from waypost.schedule.ending import Ending, NotYet, RunRefused, report
from waypost.settings import Settings
from waypost.store import schedules
from waypost.store.schedules import Run, Sends, Tick
from waypost.telemetry import tracing

log = structlog.get_logger(__name__)

DONE, AGAIN, NEVER = 0, 1, 2
"""Exit statuses: done, or done before; not done, and another try makes sense; not done, and none does.

The CronJob's pod failure policy ends the Job at once on the last."""


def perform(engine: Engine, settings: Settings, orders: Order, planned_at: datetime) -> tuple[int, dict[str, object]]:
    """Do the run of this tick, or what is left of it; returns the exit status and the report.

    Errors of the database come through: the run stays as it is, and another process may go on with it.
    """
    this = Tick(orders.uid, planned_at)
    with engine.begin() as connection:
        run = schedules.take_up(
            connection,
            this,
            namespace=orders.namespace,
            name=orders.name,
            number_id=orders.number_id,
            orders=msgspec.to_builtins(orders),
            traceparent=tracing.current_traceparent(),
        )
        schedules.forget_orders(connection, this)
    if run.finished_at is not None:
        log.info("this tick was run before", attempts=run.attempts)
        ending = Ending(run.result or "", run.detail, run.recipients, run.skipped)
        return DONE, report(planned_at, run.finished_at, ending, _sends(engine, this))
    log.info("run starts", attempt=run.attempts)
    try:
        taken = order.convert(run.orders)
        ending = _act(engine, settings, taken, this, run)
    except NotYet as error:
        log.warning("run cannot go on yet", problem=str(error))
        return AGAIN, report(planned_at, None, Ending("Waiting", str(error)), _sends(engine, this))
    except InvalidOrder as error:
        return NEVER, _finished(engine, this, Ending("InvalidOrder", str(error)))
    except RunRefused as error:
        return NEVER, _finished(engine, this, Ending(error.result, error.detail, error.recipients))
    wait_s = settings.schedule_wait_s if isinstance(taken.action.only, MessageAction) else 0.0
    return DONE, _finished(engine, this, ending, wait_s=wait_s)


def _act(engine: Engine, settings: Settings, taken: Order, this: Tick, run: Run) -> Ending:
    action = taken.action.only
    if isinstance(action, MessageAction):
        _check_number(engine, taken)
        return message.send(engine, this, taken, action, now=run.now, traceparent=tracing.current_traceparent())

    def graph() -> GraphClient:
        return GraphClient(settings.graph_url, settings.graph_version, timeout_s=settings.graph_timeout_s)

    return token_check.check(taken, action, registry_dir=settings.registry_dir, graph=graph, now=run.now.timestamp())


def _check_number(engine: Engine, taken: Order) -> None:
    """A second look, after the operator's, that the schedule's own number is meant: the sender knows ids alone."""
    with engine.connect() as connection:
        owner = schedules.owner_of_number(connection, taken.number_id)
    if owner is None:
        raise NotYet("no worker has seen this number yet")
    if owner != (taken.namespace, taken.number):
        raise RunRefused("NumberOfAnother", f"this phone number is not that of {taken.namespace}/{taken.number}")


def _finished(engine: Engine, this: Tick, ending: Ending, *, wait_s: float = 0.0) -> dict[str, object]:
    """Write the ending down, and then, for at most `wait_s`, see what becomes of the messages."""
    with engine.begin() as connection:
        finished_at = schedules.finish(
            connection,
            this,
            recipients=ending.recipients,
            skipped=ending.skipped,
            result=ending.result,
            detail=ending.detail,
        )
    return report(this.planned_at, finished_at, ending, message.settled(engine, this, within_s=wait_s))


def _sends(engine: Engine, this: Tick) -> Sends:
    with engine.connect() as connection:
        return schedules.sends_of_run(connection, this)
