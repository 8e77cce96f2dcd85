"""The action `message`: sends one message to each contact of an audience."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from waypost.cloudapi.messages import InvalidMessage, Template, Text
from waypost.contracts.fields import (
    Confidential,
    Contact,
    Duration,
    NameReference,
    Strict,
    TemplateName,
    TimeOfDay,
    exactly_one,
    form,
    one_of,
    rule,
    rules,
)
from waypost.contracts.order import InvalidOrder
from waypost.schedule.actions.action import ActionModel, PodNeeds, ScheduleAction
from waypost.schedule.outcome import ActionOutcome

if TYPE_CHECKING:
    from waypost.schedule.context import RunContext

NOT_EMPTY = "selector must name at least one of tags, lastSeenWithin and noReplyFor"
MOST_CONTACTS = 1000
"""Contacts that one custom resource may list."""

Tag = Annotated[
    str,
    StringConstraints(max_length=63),
    form(r"^[a-z0-9][-a-z0-9_]*$", "must be a tag of small letters, digits, '-' and '_'"),
]


class ScheduledTemplate(Confidential, TemplateName):
    """A message template that Meta has approved, with the values of its variables."""

    components: list[dict[str, Any]] = Field(
        default=[],
        max_length=16,
        json_schema_extra={"items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    )
    """Values for the variables of header, body and buttons, in the form that Meta's API takes as `components`."""


class ConfigMapKey(NameReference):
    """A key of a ConfigMap in the same namespace."""

    key: str = Field(default="contacts.txt", pattern=r"^[-._a-zA-Z0-9]{1,253}$", max_length=253)
    """Key whose text has one contact per line, written as in `contacts`."""


class Selector(Strict):
    """Contacts of the number that meet all the given conditions."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("has(self.tags) || has(self.lastSeenWithin) || has(self.noReplyFor)", NOT_EMPTY))
    )

    tags: list[Tag] | None = Field(default=None, min_length=1, max_length=32)
    """Tags that a contact must have, all of them."""
    last_seen_within: Duration | None = None
    """Time within which the contact must have written."""
    no_reply_for: Duration | None = None
    """Time for which the contact's last message must have waited for an answer."""


class Audience(Confidential):
    """Contacts that get the message."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("contacts", "selector", "configMapRef")))

    # The number of contacts is a limit of the custom resource's size, not of a run: ScheduleSpec checks it.
    contacts: list[Contact] | None = Field(default=None, min_length=1, json_schema_extra={"maxItems": MOST_CONTACTS})
    """List of contacts: phone numbers in E.164, as `+393331234567`, or business-scoped user ids, as
    `IT.13491208655302741918`, of people who show no phone number."""
    selector: Selector | None = None
    """Conditions that select contacts of the number. This version cannot carry it out: such a schedule is not
    supported, and its condition says so."""
    config_map_ref: ConfigMapKey | None = None
    """A ConfigMap with one contact per line. This version cannot carry it out: such a schedule is not supported, and
    its condition says so."""

    _one_source = exactly_one("contacts", "selector", "configMapRef")


class QuietHours(Strict):
    """Hours in which no message is sent, by the recipient's own clock."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("self.from != self.to", "quietHours must not begin and end at the same time"))
    )

    from_: TimeOfDay = Field(alias="from")
    """First minute of the quiet hours, as `21:00`."""
    to: TimeOfDay
    """First minute after the quiet hours, as `08:00`; earlier than `from` means the next day."""


class MessageAction(ActionModel):
    """Send a message to an audience."""

    model_config = ConfigDict(json_schema_extra=rules(one_of("template", "text")))

    template: ScheduledTemplate | None = None
    """The template to send. Meta takes templates at any time, and asks that recipients have agreed to get them."""
    text: str | None = Field(default=None, min_length=1, max_length=4096)
    """The text to send, instead of a template. It reaches only contacts who wrote within the last 24 hours; the others
    are counted as skipped."""
    audience: Audience
    """Contacts that get the message. Contacts that have opted out are always skipped."""
    quiet_hours: QuietHours | None = None
    """Hours in which no message is sent, by the recipient's own clock. A message due in them is sent at their end."""
    max_recipients: int = Field(default=1000, ge=1, le=100_000)
    """Size of the audience above which a run sends nothing and reports that: a safeguard against a wrong list."""

    _one_body = exactly_one("template", "text")

    def body(self) -> dict[str, object]:
        """Returns the Graph payload without recipient. Raises `InvalidOrder` if Meta would refuse the payload."""
        try:
            if self.template is None:
                return Text(self.text or "").payload()
            message = Template(name=self.template.name, language=self.template.language)
        except InvalidMessage as error:
            raise InvalidOrder(f"action.message: {error}") from None
        body = message.payload()
        if self.template.components:
            body["template"] = {**dict(message.content()), "components": self.template.components}
        return body


def run(context: "RunContext", action: MessageAction) -> ActionOutcome:
    """Queues the message for each contact of the audience.

    The queue is in the database, and only a run can reach the database.
    """
    from waypost.schedule import queueing  # noqa: PLC0415 - the operator imports this module without a database

    return queueing.queue(context, action)


def unsupported(action: MessageAction) -> str | None:
    """Returns the audience field that this version cannot read, or None if this version can read the audience."""
    if action.audience.selector is not None:
        return "audience.selector"
    return None if action.audience.config_map_ref is None else "audience.configMapRef"


ACTION = ScheduleAction(
    model=MessageAction,
    # A run queues messages; the workers, who have the token, send them.
    pod=PodNeeds(access_token=False),
    run=run,
    unsupported=unsupported,
    sends_messages=True,
)
