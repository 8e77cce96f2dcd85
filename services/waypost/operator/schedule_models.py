"""The kind `BotSchedule` as typed models; docstrings are what `kubectl explain` shows."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from waypost.operator.fields import (
    Duration,
    Moment,
    NameReference,
    PhoneNumber,
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
from waypost.operator.models import Condition

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
    """A template with what fills it."""

    components: list[dict[str, Any]] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    )
    """Parameters of header, body and buttons, as Meta's API takes them."""


class ConfigMapKey(NameReference):
    """One key of a ConfigMap of the same namespace."""

    key: str = Field(default="contacts.txt", pattern=r"^[-._a-zA-Z0-9]{1,253}$", max_length=253)
    """The key; its text has one phone number in E.164 per line."""


class Selector(Strict):
    """Contacts of the number by what is known of them; all that is given must hold."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("has(self.tags) || has(self.lastSeenWithin) || has(self.noReplyFor)", NOT_EMPTY))
    )

    tags: list[Tag] | None = Field(default=None, min_length=1, max_length=32)
    """Contacts that carry all of these tags."""
    last_seen_within: Duration | None = None
    """Contacts that wrote within this time."""
    no_reply_for: Duration | None = None
    """Contacts whose last message has waited for an answer this long."""


class Audience(Strict):
    """Who gets it. Opt-outs and the 24 h window are respected whatever is written here."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("contacts", "selector", "configMapRef")))

    contacts: list[PhoneNumber] | None = Field(default=None, min_length=1, max_length=1000)
    """Phone numbers in E.164, `+393331234567`."""
    selector: Selector | None = None
    """Contacts by what is known of them."""
    config_map_ref: ConfigMapKey | None = None
    """A list in a ConfigMap."""

    _one_source = exactly_one("contacts", "selector", "configMapRef")


class QuietHours(Strict):
    """Hours, in the recipient's time zone, in which nothing is sent; what falls into them waits for their end."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("self.from != self.to", "quietHours must not begin and end at the same time"))
    )

    from_: TimeOfDay = Field(alias="from")
    """First minute of quiet, `21:00`."""
    to: TimeOfDay
    """End of quiet, `08:00`."""


class MessageAction(Strict):
    """Send a message to an audience."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("template", "text")))

    template: ScheduledTemplate | None = None
    """A template, which may be sent at any time."""
    text: str | None = Field(default=None, min_length=1, max_length=4096)
    """Plain text, which reaches only those who wrote within the last 24 hours."""
    audience: Audience
    """Who gets it."""
    quiet_hours: QuietHours | None = None
    """When nobody is disturbed."""
    max_recipients: int = Field(default=1000, ge=1, le=100_000)
    """A run that would reach more people than this sends nothing and says so."""

    _one_body = exactly_one("template", "text")


class ReportAction(Strict):
    """Write a report on the number's traffic."""

    period: Literal["Day", "Week", "Month"] = "Day"
    """The last full day, week or month, in the schedule's time zone."""
    format: Literal["CSV", "JSON"] = "CSV"
    """Form of the report."""


class TokenCheckAction(Strict):
    """Check the number's access token at Meta, and warn of its end."""

    warn_days: int = Field(default=14, ge=1, le=60)
    """Warn when the token lapses within this many days."""


class RetentionAction(Strict):
    """Erase what is older than the number's retention."""

    messages: Duration | None = None
    """Erase messages older than this; default: what the number says."""


class Action(Strict):
    """What a run does: exactly one of the following."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("message", "report", "tokenCheck", "retention")))

    message: MessageAction | None = None
    """Send a message to an audience."""
    report: ReportAction | None = None
    """Write a report on the number's traffic."""
    token_check: TokenCheckAction | None = None
    """Check the number's access token."""
    retention: RetentionAction | None = None
    """Erase what is old."""

    _one_action = exactly_one("message", "report", "tokenCheck", "retention")


class ScheduleSpec(Strict):
    """When something happens, and what."""

    number_ref: NameReference
    """The WhatsAppNumber, in the same namespace."""
    schedule: Annotated[str, AfterValidator(_cron)] = Field(
        min_length=9,
        max_length=128,
        json_schema_extra=rules(
            rule("!self.contains('TZ=')", NO_ZONE),
            rule("self.contains('TZ=') || self.matches('^\\\\s*\\\\S+(\\\\s+\\\\S+){4}\\\\s*$')", FIVE_FIELDS),
        ),
    )
    """Cron expression of five fields: minute, hour, day of month, month, day of week."""
    time_zone: Annotated[
        str,
        StringConstraints(min_length=1, max_length=64),
        form(r"^[A-Za-z0-9][-+_/A-Za-z0-9]*$", A_ZONE),
        AfterValidator(_zone),
    ] = Field(json_schema_extra=rules(rule("self.lowerAscii() != 'local'", A_ZONE)))
    """IANA time zone that the schedule is read in, `Europe/Rome`."""
    suspend: bool = False
    """While true no run starts."""
    concurrency_policy: Literal["Forbid", "Allow", "Replace"] = "Forbid"
    """What happens when a run is due and the last one has not ended."""
    starting_deadline_seconds: int = Field(default=300, ge=10, le=86_400)
    """A run that could not start within this time is skipped; so a long outage does not end in a late surprise."""
    action: Action
    """What a run does."""


class LastRun(Written):
    """The counts of the last run."""

    planned_at: Moment | None = None
    """The minute it was planned for."""
    finished_at: Moment | None = None
    """When it had done its part; absent while it runs."""
    result: str = Field(default="", max_length=63)
    """`Succeeded`, `Failed`, or why nothing was sent."""
    recipients: int = Field(default=0, ge=0)
    """People in the audience."""
    queued: int = Field(default=0, ge=0)
    """Messages still waiting."""
    sent: int = Field(default=0, ge=0)
    """Messages that Meta took."""
    failed: int = Field(default=0, ge=0)
    """Messages that failed."""
    skipped: int = Field(default=0, ge=0)
    """People left out: opted out, outside the window, twice in the list."""
    message: str = Field(default="", max_length=1024)
    """What there is to say about it."""


class ScheduleStatus(Written):
    """What was found and done."""

    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that this status speaks of."""
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """`Ready` is the summary; `Reconciling` and `Stalled` say whether it heals by itself."""
    cron_job_name: str = Field(default="", max_length=63)
    """The CronJob, in the operator's own namespace."""
    cron_job_namespace: str = Field(default="", max_length=63)
    """Where the CronJob is."""
    last_run: LastRun | None = None
    """The last run."""
    next_run_at: Moment | None = None
    """When the next run is planned; absent while suspended."""
    failure_count: int = Field(default=0, ge=0)
    """Attempts that failed in a row."""
    next_attempt_time: Moment | None = None
    """Not before this, after a failure."""
    last_handled_reconcile_at: str = Field(default="", max_length=64)
    """The last value of the annotation `waypost.dev/reconcile-requested-at` that was acted on."""
