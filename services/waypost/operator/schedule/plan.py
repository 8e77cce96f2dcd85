"""Decides what to do about a schedule, and which conditions it has. The code has no side effects."""

from dataclasses import dataclass

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import NOT_RECONCILING, NOT_STALLED, Condition, is_true, reason_of
from waypost.operator.api.schedule_models import ScheduleSpec
from waypost.operator.cluster.interface import ClusterRefused, Manifest
from waypost.operator.engine.outcome import Outcome
from waypost.schedule.actions import table


@dataclass(frozen=True)
class Obstacle:
    """A reason why no run of the schedule may start."""

    reason: Reason
    message: str
    needs_person: bool
    """Whether a person must change something. If not, the operator continues by itself when the obstacle is gone."""


@dataclass(frozen=True)
class Plan:
    """The desired children of a schedule."""

    write_order: bool
    """Whether to write the Secret with the order. If not, the Secret stays as it is."""
    cron_job: bool
    """Whether the schedule should have a CronJob."""
    suspend: bool
    obstacle: Obstacle | None = None


def plan(spec: ScheduleSpec, number: Manifest | None, *, has_cron_job: bool, is_bound: bool) -> Plan:
    """Returns the plan for a schedule whose `numberRef` leads to `number`.

    `is_bound` says that runs for exactly this number have been set up before. A user who may write a schedule
    must not be able to send from a number of another team. A schedule therefore accepts a number only after the
    number's own credentials have reached it at Meta. Once the schedule is bound to the number, a failure of the
    number that ends by itself does not stop the runs.
    """
    obstacle = unsupported(spec) or unusable(spec, number, is_bound=is_bound)
    if obstacle is not None:
        # Runs that were set up for an earlier spec or number must not go on.
        return Plan(write_order=False, cron_job=has_cron_job, suspend=True, obstacle=obstacle)
    return Plan(write_order=True, cron_job=True, suspend=spec.suspend)


def unsupported(spec: ScheduleSpec) -> Obstacle | None:
    """Returns an obstacle if the runs of this version cannot do what the spec asks for, otherwise None."""
    field = table.unsupported(spec.action)
    if field is not None:
        message = f"This version cannot carry out {field}. Take it out and choose another action or audience."
        return Obstacle(Reason.NOT_SUPPORTED, message, needs_person=True)
    return None


def unusable(spec: ScheduleSpec, number: Manifest | None, *, is_bound: bool) -> Obstacle | None:
    """Returns the obstacle that makes the number unusable, or None if the number is usable."""
    name = spec.number_ref.name
    if number is None or number["metadata"].get("deletionTimestamp"):
        message = f"There is no WhatsAppNumber {name} in this namespace. Create it, or correct spec.numberRef."
        return Obstacle(Reason.NUMBER_NOT_FOUND, message, needs_person=False)
    status = number.get("status")
    ready_reason = reason_of(status, ConditionType.READY)
    if ready_reason == Reason.CONFLICT:
        message = f"Another object holds the phone number of the WhatsAppNumber {name}. Delete one of the two."
        return Obstacle(Reason.NUMBER_CONFLICT, message, needs_person=False)
    if not is_bound and not is_true(status, ConditionType.REGISTERED):
        why = ready_reason or Reason.NOT_LOOKED_AT
        message = f"The WhatsAppNumber {name} is not connected yet ({why}). Its conditions say what is missing."
        return Obstacle(Reason.NUMBER_NOT_READY, message, needs_person=False)
    needs_token = spec.action.chosen[1].pod.access_token
    if not is_bound and needs_token and (status or {}).get("registryShard") is None:
        message = f"The WhatsAppNumber {name} is not published yet. Its conditions say what is missing."
        return Obstacle(Reason.NUMBER_NOT_READY, message, needs_person=False)
    return None


def refusal(error: ClusterRefused) -> Obstacle:
    """Returns the obstacle that arises when the API server refuses the CronJob."""
    if error.reason not in {"Invalid", "BadRequest"}:
        message = f"The API server refused the CronJob ({error.reason}). Ask the people who run the platform."
        return Obstacle(Reason.CRON_JOB_REFUSED, message, needs_person=False)
    reason = Reason.CRON_JOB_INVALID
    for field, known in (("spec.timeZone", Reason.INVALID_TIME_ZONE), ("spec.schedule", Reason.INVALID_SCHEDULE)):
        if field in error.message:
            reason = known
    return Obstacle(reason, f"The API server refused the CronJob. Correct the spec: {error.message}", needs_person=True)


def conditions(spec: ScheduleSpec | None, obstacle: Obstacle | None) -> tuple[Condition, ...]:
    """Returns the conditions `Ready`, `Reconciling` and `Stalled`. `spec` is None if the object's spec is invalid."""
    if obstacle is None:
        reason, message = Reason.SCHEDULED, "Runs start as planned."
        if spec is not None and spec.suspend:
            reason, message = Reason.SUSPENDED, "spec.suspend is true: no run starts."
        ready = Condition(ConditionType.READY, ConditionStatus.TRUE, reason, message)
        return (ready, NOT_RECONCILING, NOT_STALLED)
    why = (obstacle.reason, obstacle.message)
    ready = Condition(ConditionType.READY, ConditionStatus.FALSE, *why)
    if obstacle.needs_person:
        return (ready, NOT_RECONCILING, Condition(ConditionType.STALLED, ConditionStatus.TRUE, *why))
    return (ready, Condition(ConditionType.RECONCILING, ConditionStatus.TRUE, *why), NOT_STALLED)


def outcome(obstacle: Obstacle | None) -> Outcome:
    """Returns the outcome of a reconcile that ended with this obstacle."""
    if obstacle is None:
        return Outcome.READY
    if obstacle.needs_person:
        return Outcome.STALLED
    return Outcome.FAILED if obstacle.reason is Reason.CRON_JOB_REFUSED else Outcome.WAITING
