"""What a run is told to do: the file that the operator mounts into its pod, JSON.

`action` is as in the `BotSchedule`, with its defaults filled in. The file holds who gets what: it belongs in a Secret.
"""

from typing import Annotated, Any

import msgspec

from waypost.cloudapi.messages import InvalidMessage, Outgoing, Template, Text

TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""`HH:MM`, 24 hours."""


class InvalidOrder(Exception):
    """The file does not say what can be done. The message names the field, never a value. A retry changes nothing."""


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class ScheduledTemplate(_Part, frozen=True):
    """An approved template with what fills it, as Meta's API takes it."""

    name: str
    language: str
    components: list[dict[str, Any]] = []


class Audience(_Part, frozen=True):
    """Who gets it: phone numbers in E.164 or BSUIDs."""

    contacts: list[str] = []


class QuietTimes(_Part, frozen=True):
    """By the recipient's wall clock."""

    from_: TimeOfDay = msgspec.field(name="from")
    to: TimeOfDay


class MessageAction(_Part, frozen=True):
    """Send one message to each of an audience."""

    audience: Audience
    template: ScheduledTemplate | None = None
    text: str | None = None
    quiet_hours: QuietTimes | None = None
    max_recipients: int = 1000

    def body(self) -> dict[str, object]:
        """The Graph payload without recipient. Raises `InvalidOrder`."""
        if (self.template is None) == (self.text is None):
            raise InvalidOrder("action.message: give either template or text")
        message: Outgoing
        try:
            if self.template is None:
                message = Text(self.text or "")
                return message.payload()
            message = Template(name=self.template.name, language=self.template.language)
        except InvalidMessage as error:
            raise InvalidOrder(f"action.message: {error}") from None
        body = message.payload()
        if self.template.components:
            body["template"] = {**dict(message.content()), "components": self.template.components}
        return body


class TokenCheckAction(_Part, frozen=True):
    """Ask Meta what it thinks of the number's token."""

    warn_days: int = 14


class Action(_Part, frozen=True):
    """Exactly one of them."""

    message: MessageAction | None = None
    token_check: TokenCheckAction | None = None

    @property
    def only(self) -> MessageAction | TokenCheckAction:
        """The one that is given."""
        given = self.message or self.token_check
        assert given is not None
        return given


class Order(_Part, frozen=True):
    """What a schedule's runs do."""

    uid: str
    """Of the `BotSchedule`: with the planned minute it makes the run's identity."""
    namespace: str
    name: str
    number: str
    """Name of the `WhatsAppNumber`, in the same namespace."""
    number_id: str
    time_zone: str
    """The schedule's own, for recipients of whom no zone is known."""
    action: Action


def load(content: bytes) -> Order:
    """Read the file. Raises `InvalidOrder`."""
    if b"\\u0000" in content:
        raise InvalidOrder("the order holds a NUL character, which no message may")
    try:
        return convert(msgspec.json.decode(content))
    except msgspec.DecodeError:
        raise InvalidOrder("the order is not JSON") from None


def convert(content: Any) -> Order:
    """The same from parsed JSON. Raises `InvalidOrder`."""
    try:
        order = msgspec.convert(content, Order)
    except msgspec.ValidationError as error:
        raise InvalidOrder(f"the order is not one of this version: {error}") from None
    if (order.action.message is None) == (order.action.token_check is None):
        raise InvalidOrder("action: give exactly one of message and tokenCheck; no other is known to this version")
    return order
