"""Defines the bodies of requests to `/_sim/*`. Unknown keys are refused, so that a misspelt key is noticed."""

from typing import Any

import msgspec


class Sender(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A user, given as an object. If `phone` is missing, the business sees only the BSUID."""

    phone: str | None = None
    user_id: str | None = None
    name: str | None = None
    username: str | None = None


class InboundRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    """The body of `POST /_sim/inbound`, with exactly one of `text` and `message`.

    `number` is a phone number id or a phone number. `from` is a phone number, a BSUID or a `Sender`. `message` is
    a message in Meta's form, for instance `{"type": "image", "image": {…}}`. If `id`, `timestamp` or `from` is
    missing in the message, the simulator adds it.
    """

    number: str
    sender: str | Sender
    text: str | None = None
    message: dict[str, Any] | None = None
    name: str | None = None
    context: str | None = None
    """The id of the message that this message replies to."""
    times: int = 1
    """The number of times that Meta delivers the message."""
    wait: bool = True
    """Whether to reply only after the first attempt of each delivery has ended, but at most 5 s later."""


class StatusRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/status`, which contains a status to deliver now.

    The status may be for a message that the simulator accepted or for any other message.
    """

    wamid: str
    status: str
    code: int | None = None
    details: str = ""
    number: str | None = None
    to: str | None = None
    callback_data: str | None = None
    timestamp: float | None = None
    times: int = 1


class FieldRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/field`, which contains any webhook field and its value, for instance `account_update`."""

    field: str
    value: dict[str, Any]
    number: str | None = None
    account: str | None = None


class ClockRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/clock`, which moves the simulated time forward."""

    advance_s: float


class RedeliveryRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/redeliver`. The last `count` bodies are sent again, each of them `times` times."""

    count: int = 1
    times: int = 1
    shuffle: bool = False


class ResetRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/reset`, which deletes all traffic.

    With `world`, apps, accounts, numbers, tokens and subscriptions are deleted too.
    """

    world: bool = False
