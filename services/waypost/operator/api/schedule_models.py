"""Typed models of the kind `BotSchedule`. Its CRD, its reference and its checks are derived from them.

`kubectl explain` shows the docstrings of this module.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from waypost.contracts.fields import Moment, NameReference, Strict, Written, form, rule, rules
from waypost.operator.api.number_models import Condition
from waypost.schedule.actions.message import MOST_CONTACTS
from waypost.schedule.actions.table import Action

FIVE_FIELDS = "schedule must have five fields: minute, hour, day of month, month, day of week"
NO_ZONE = "schedule must not contain TZ=; the time zone belongs in timeZone"
A_ZONE = "timeZone must be a name of the IANA database, as Europe/Rome or Etc/UTC"


def _cron(value: str) -> str:
    if "TZ=" in value:
        raise ValueError(NO_ZONE)
    if len(value.split()) != 5:
        raise ValueError(FIVE_FIELDS)
    return value


def _zone(value: str) -> str:
    if value.lower() == "local":
        raise ValueError(A_ZONE)
    return value


def _listable(action: Action) -> Action:
    contacts = action.message.audience.contacts if action.message is not None else None
    if contacts is not None and len(contacts) > MOST_CONTACTS:
        raise ValueError(f"action.message.audience.contacts must hold at most {MOST_CONTACTS} contacts")
    return action


class ScheduleSpec(Strict):
    """Defines what a run does, which number it uses, and when it starts."""

    number_ref: NameReference
    """The WhatsAppNumber that the runs use. No run starts before it has been connected at Meta."""
    schedule: Annotated[str, AfterValidator(_cron)] = Field(
        min_length=9,
        max_length=128,
        json_schema_extra=rules(
            rule("!self.contains('TZ=')", NO_ZONE),
            rule("self.contains('TZ=') || self.matches('^\\\\s*\\\\S+(\\\\s+\\\\S+){4}\\\\s*$')", FIVE_FIELDS),
        ),
    )
    """When runs start, as a cron expression of five fields: minute, hour, day of month, month and day of week. For
    example, `0 9 * * 1` is every Monday at 9:00."""
    time_zone: Annotated[
        str,
        StringConstraints(min_length=1, max_length=64),
        form(r"^[A-Za-z0-9][-+_/A-Za-z0-9]*$", A_ZONE),
        AfterValidator(_zone),
    ] = Field(json_schema_extra=rules(rule("self.lowerAscii() != 'local'", A_ZONE)))
    """Time zone in which the schedule is read, by its name in the IANA database, as `Europe/Rome`. It is also taken for
    recipients whose own zone is not known."""
    suspend: bool = False
    """Whether the schedule is paused. While true, no run starts; a run under way continues."""
    concurrency_policy: Literal["Forbid", "Allow", "Replace"] = "Forbid"
    """What happens when a run is due while the previous one has not ended. `Forbid` skips the new run, `Allow` lets
    both run, `Replace` ends the old one."""
    starting_deadline_seconds: int = Field(default=300, ge=10, le=86_400)
    """Seconds within which a run must start. A run that could not, because the cluster was down, is skipped: a message
    for the morning must not be sent at night."""
    action: Annotated[Action, AfterValidator(_listable)]
    """What a run does."""


class LastRun(Written):
    """The result of the last run."""

    planned_at: Moment | None = None
    """Minute that the run was planned for. It identifies the run."""
    finished_at: Moment | None = None
    """When the run ended; absent while it is under way."""
    result: str = Field(default="", max_length=63)
    """How the run ended, in one CamelCase word: `Succeeded`, `Failed`, or the reason why it did nothing. `Running`
    while it is under way."""
    recipients: int = Field(default=0, ge=0)
    """How many people were in the audience."""
    queued: int = Field(default=0, ge=0)
    """How many messages were still waiting, or of unknown outcome, when the run ended."""
    sent: int = Field(default=0, ge=0)
    """How many messages Meta had accepted when the run ended."""
    failed: int = Field(default=0, ge=0)
    """How many messages had failed when the run ended."""
    skipped: int = Field(default=0, ge=0)
    """How many people were skipped because they opted out, did not write within 24 hours, or were listed twice."""
    message: str = Field(default="", max_length=1024)
    """Details of the run, in words."""


class ScheduleStatus(Written):
    """The objects that were set up for the schedule, and the result of its last run."""

    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that this status is about."""
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """The state by aspect. `Ready` is true when runs start as planned, or when the schedule is suspended. `Reconciling`
    is true while the operator continues by itself, `Stalled` when a person must act."""
    cron_job_name: str = Field(default="", max_length=63)
    """Name of the CronJob that starts the runs."""
    cron_job_namespace: str = Field(default="", max_length=63)
    """Namespace of that CronJob, which is the operator's own."""
    last_run: LastRun | None = None
    """The result of the last run."""
    next_run_at: Moment | None = None
    """When the next run is planned; absent while no run starts."""
    last_handled_reconcile_at: str = Field(default="", max_length=64)
    """Value of the annotation `waypost.dev/reconcile-requested-at` that was last handled."""
