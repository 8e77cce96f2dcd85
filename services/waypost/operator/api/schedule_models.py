"""The kind `BotSchedule` as typed models; docstrings are what `kubectl explain` shows."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from waypost.operator.api.fields import (
    Contact,
    Duration,
    Moment,
    NameReference,
    Strict,
    TemplateName,
    TimeOfDay,
    Written,
    exactly_one,
    form,
    one_of,
    rule,
    rules,
)
from waypost.operator.api.number_models import Condition

FIVE_FIELDS = "schedule must have five fields: minute, hour, day of month, month, day of week"
NO_ZONE = "schedule must not contain TZ=; the time zone belongs into timeZone"
A_ZONE = "timeZone must be a name of the IANA database, as Europe/Rome or Etc/UTC"
NOT_EMPTY = "selector must name at least one of tags, lastSeenWithin and noReplyFor"


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


Tag = Annotated[
    str,
    StringConstraints(max_length=63),
    form(r"^[a-z0-9][-a-z0-9_]*$", "must be a tag of small letters, digits, '-' and '_'"),
]


class ScheduledTemplate(TemplateName):
    """A message template that Meta has approved, with what fills its variables."""

    components: list[dict[str, Any]] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    )
    """What fills the variables of header, body and buttons, in the form that Meta's API takes as `components`."""


class ConfigMapKey(NameReference):
    """A key of a ConfigMap of the same namespace."""

    key: str = Field(default="contacts.txt", pattern=r"^[-._a-zA-Z0-9]{1,253}$", max_length=253)
    """Key whose text holds one contact per line, written as in `contacts`."""


class Selector(Strict):
    """Contacts of the number by what is known of them; everything that is given must hold."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("has(self.tags) || has(self.lastSeenWithin) || has(self.noReplyFor)", NOT_EMPTY))
    )

    tags: list[Tag] | None = Field(default=None, min_length=1, max_length=32)
    """Tags that a contact must carry, all of them."""
    last_seen_within: Duration | None = None
    """Time within which the contact must have written."""
    no_reply_for: Duration | None = None
    """Time for which the contact's last message must have waited for an answer."""


class Audience(Strict):
    """Who gets the message."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("contacts", "selector", "configMapRef")))

    contacts: list[Contact] | None = Field(default=None, min_length=1, max_length=1000)
    """Contacts, one by one: phone numbers in E.164, as `+393331234567`, or business-scoped user ids, as
    `IT.13491208655302741918`, of those who show no phone number."""
    selector: Selector | None = None
    """Contacts of the number by what is known of them. This version cannot carry it out: such a schedule is not
    supported, and its condition says so."""
    config_map_ref: ConfigMapKey | None = None
    """A ConfigMap with one contact per line. This version cannot carry it out: such a schedule is not supported, and
    its condition says so."""

    _one_source = exactly_one("contacts", "selector", "configMapRef")


class QuietHours(Strict):
    """Hours in which nobody is written to, by the recipient's own clock."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("self.from != self.to", "quietHours must not begin and end at the same time"))
    )

    from_: TimeOfDay = Field(alias="from")
    """First minute of the quiet hours, as `21:00`."""
    to: TimeOfDay
    """First minute after the quiet hours, as `08:00`; earlier than `from` means the next day."""


class MessageAction(Strict):
    """Send a message to an audience."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("template", "text")))

    template: ScheduledTemplate | None = None
    """The template to send. Meta takes templates at any time, and asks that recipients have agreed to get them."""
    text: str | None = Field(default=None, min_length=1, max_length=4096)
    """The text to send, instead of a template. It reaches only those who wrote within the last 24 hours; the others are
    counted as skipped."""
    audience: Audience
    """Who gets the message. Whoever opted out is left out, whatever is written here."""
    quiet_hours: QuietHours | None = None
    """Hours in which nobody is written to, by the recipient's own clock. What falls into them is sent at their end."""
    max_recipients: int = Field(default=1000, ge=1, le=100_000)
    """Size of the audience above which a run sends nothing at all, and says so: a safeguard against a wrong list."""

    _one_body = exactly_one("template", "text")


class ReportAction(Strict):
    """Write a report on the number's traffic."""

    period: Literal["Day", "Week", "Month"] = "Day"
    """What the report covers: the last full day, week or month in the schedule's time zone."""
    format: Literal["CSV", "JSON"] = "CSV"
    """Format in which the report is written."""


class TokenCheckAction(Strict):
    """Check the number's access token at Meta, and warn of its end."""

    warn_days: int = Field(default=14, ge=1, le=60)
    """How many days ahead of the token's end a run begins to warn."""


class RetentionAction(Strict):
    """Erase what is older than the number's retention."""

    messages: Duration | None = None
    """Age at which messages are erased; without it the age that the number's own `retention` says."""


class Action(Strict):
    """What a run does."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("message", "report", "tokenCheck", "retention")))

    message: MessageAction | None = None
    """Send a message to an audience, as a template or as text."""
    report: ReportAction | None = None
    """Write a report on the number's traffic. This version cannot carry it out: such a schedule is not supported, and
    its condition says so."""
    token_check: TokenCheckAction | None = None
    """Ask Meta whether the number's access token is still valid, and warn ahead of its end."""
    retention: RetentionAction | None = None
    """Erase messages that are older than allowed. This version cannot carry it out: such a schedule is not supported,
    and its condition says so."""

    _one_action = exactly_one("message", "report", "tokenCheck", "retention")


class ScheduleSpec(Strict):
    """What is to happen, at which number, and when."""

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
    """Whether the schedule pauses. While true no run starts; a run under way goes on."""
    concurrency_policy: Literal["Forbid", "Allow", "Replace"] = "Forbid"
    """What happens when a run is due while the one before it has not ended. `Forbid` leaves the new one out, `Allow`
    lets both run, `Replace` ends the old one."""
    starting_deadline_seconds: int = Field(default=300, ge=10, le=86_400)
    """Seconds within which a run must start. One that could not, because the cluster was down, is left out: what was
    meant for the morning shall not go out at night."""
    action: Action
    """What a run does."""


class LastRun(Written):
    """What became of the last run."""

    planned_at: Moment | None = None
    """Minute that the run was planned for, by which it is told apart from all others."""
    finished_at: Moment | None = None
    """When the run had done its part; absent while it is under way."""
    result: str = Field(default="", max_length=63)
    """How the run ended, in one CamelCase word: `Succeeded`, `Failed`, or why it did nothing. `Running` while it is
    under way."""
    recipients: int = Field(default=0, ge=0)
    """How many people were in the audience."""
    queued: int = Field(default=0, ge=0)
    """How many messages were still waiting, or of unknown outcome, when the run ended."""
    sent: int = Field(default=0, ge=0)
    """How many messages Meta had taken when the run ended."""
    failed: int = Field(default=0, ge=0)
    """How many messages had failed when the run ended."""
    skipped: int = Field(default=0, ge=0)
    """How many people were left out, for they opted out, did not write within 24 hours, or were listed twice."""
    message: str = Field(default="", max_length=1024)
    """What else there is to say about the run, in words."""


class ScheduleStatus(Written):
    """What was set up for the schedule, and what became of its runs."""

    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that this status is about."""
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """State by aspect. `Ready` is true when runs start as planned, or the schedule is suspended. `Reconciling` is true
    while the operator goes on by itself, `Stalled` when a person must act."""
    cron_job_name: str = Field(default="", max_length=63)
    """Name of the CronJob that starts the runs."""
    cron_job_namespace: str = Field(default="", max_length=63)
    """Namespace of that CronJob, which is the operator's own."""
    last_run: LastRun | None = None
    """What became of the last run."""
    next_run_at: Moment | None = None
    """When the next run is planned; absent while no run starts."""
    last_handled_reconcile_at: str = Field(default="", max_length=64)
    """Value of the annotation `waypost.dev/reconcile-requested-at` that was last acted on."""
