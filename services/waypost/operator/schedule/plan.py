"""What is to be done about a schedule, from what is there. Pure."""

from dataclasses import dataclass

from waypost.operator.api.conditions import Condition, find
from waypost.operator.api.schedule_models import ScheduleSpec
from waypost.operator.cluster.interface import ClusterRefused, Manifest
from waypost.operator.engine.outcome import Outcome


@dataclass(frozen=True)
class Obstacle:
    """Why no run may start."""

    reason: str
    message: str
    needs_person: bool
    """It does not heal by itself, nor by anything that wakes the reconcile."""


@dataclass(frozen=True)
class Plan:
    """What the children shall be."""

    write_order: bool
    """Otherwise the Secret stays as it is."""
    cron_job: bool
    """Whether there shall be one."""
    suspend: bool
    obstacle: Obstacle | None = None


def plan(spec: ScheduleSpec, number: Manifest | None, *, has_cron_job: bool, is_bound: bool) -> Plan:
    """`number` is what `numberRef` leads to; `is_bound`: runs for this very number have been set up before.

    Whoever may write a schedule must not thereby send from a number of another team. So it takes a number whose own
    credentials were seen to reach it at Meta; once bound, a passing trouble of the number stops no run.
    """
    obstacle = unsupported(spec) or unusable(spec, number, is_bound=is_bound)
    if obstacle is not None:
        # Runs that were set up for something else must not go on as if nothing was the matter.
        return Plan(write_order=False, cron_job=has_cron_job, suspend=True, obstacle=obstacle)
    return Plan(write_order=True, cron_job=True, suspend=spec.suspend)


def unsupported(spec: ScheduleSpec) -> Obstacle | None:
    """What the runs of this version cannot do."""
    action = spec.action
    if action.report is not None or action.retention is not None:
        name = "report" if action.report is not None else "retention"
        return Obstacle("NotSupported", f"spec.action.{name} cannot be carried out by this version", needs_person=True)
    if action.message is not None and action.message.audience.contacts is None:
        message = "this version takes spec.action.message.audience.contacts only"
        return Obstacle("NotSupported", message, needs_person=True)
    return None


def unusable(spec: ScheduleSpec, number: Manifest | None, *, is_bound: bool) -> Obstacle | None:
    """Why this number cannot be used."""
    name = spec.number_ref.name
    if number is None or number["metadata"].get("deletionTimestamp"):
        message = f"no WhatsAppNumber {name} in this namespace; create it, or correct spec.numberRef"
        return Obstacle("NumberNotFound", message, needs_person=False)
    status = number.get("status")
    ready = find(status, "Ready") or {}
    if ready.get("reason") == "Conflict":
        message = f"WhatsAppNumber {name} claims a phone number that another object has"
        return Obstacle("NumberConflict", message, needs_person=False)
    if not is_bound and (find(status, "Registered") or {}).get("status") != "True":
        message = f"WhatsAppNumber {name} is not connected yet ({ready.get('reason') or 'not looked at'})"
        return Obstacle("NumberNotReady", message, needs_person=False)
    return None


def refusal(error: ClusterRefused) -> Obstacle:
    """What the API server's answer to the CronJob means for whoever wrote the schedule."""
    if error.reason not in {"Invalid", "BadRequest"}:
        message = f"the CronJob was refused ({error.reason}); ask whoever runs the platform"
        return Obstacle("CronJobRefused", message, needs_person=False)
    reason = "CronJobInvalid"
    for field, known in (("spec.timeZone", "InvalidTimeZone"), ("spec.schedule", "InvalidSchedule")):
        if field in error.message:
            reason = known
    return Obstacle(reason, f"the API server refuses the CronJob: {error.message}", needs_person=True)


def conditions(spec: ScheduleSpec | None, obstacle: Obstacle | None) -> tuple[Condition, ...]:
    """`Ready` and whether it heals by itself."""
    if obstacle is None:
        suspended = spec is not None and spec.suspend
        reason, message = (
            ("Suspended", "spec.suspend is true: no run starts")
            if suspended
            else ("Scheduled", "runs start as planned")
        )
        return (Condition("Ready", "True", reason, message), _no("Reconciling"), _no("Stalled"))
    told = (obstacle.reason, obstacle.message)
    ready = Condition("Ready", "False", *told)
    if obstacle.needs_person:
        return (ready, _no("Reconciling"), Condition("Stalled", "True", *told))
    return (ready, Condition("Reconciling", "True", *told), _no("Stalled"))


def outcome(obstacle: Obstacle | None) -> Outcome:
    """How the reconcile ended."""
    if obstacle is None:
        return "ready"
    if obstacle.needs_person:
        return "stalled"
    return "failed" if obstacle.reason == "CronJobRefused" else "waiting"


def _no(type_: str) -> Condition:
    return Condition(type_, "False", f"Not{type_}")
