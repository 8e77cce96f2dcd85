"""The bodies that `/_sim/*` takes. An unknown key is refused, so that a misspelt one does not pass in silence."""

from typing import Any

import msgspec


class Sender(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A user, spelled out. Without `phone` the business sees the BSUID alone."""

    phone: str | None = None
    user_id: str | None = None
    name: str | None = None
    username: str | None = None


class Inbound(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    """The body of `POST /_sim/inbound`: exactly one of `text` and `message`.

    `number` is a phone number id or a phone number; `from` a phone number, a BSUID or a `Sender`. `message` is the
    message as Meta writes it, for instance `{"type": "image", "image": {…}}`; `id`, `timestamp` and `from` are added
    unless given.
    """

    number: str
    sender: str | Sender
    text: str | None = None
    message: dict[str, Any] | None = None
    name: str | None = None
    context: str | None = None
    """Id of the message that this one answers."""
    times: int = 1
    """How often Meta delivers it."""
    wait: bool = True
    """Answer only after the first attempt of each delivery has ended, at most 5 s later."""


class StatusOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/status`: a status now, for a send of the ledger or for one it never saw."""

    wamid: str
    status: str
    code: int | None = None
    details: str = ""
    number: str | None = None
    to: str | None = None
    callback_data: str | None = None
    timestamp: float | None = None
    times: int = 1


class FieldOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/field`: any webhook field with its value, for instance `account_update`."""

    field: str
    value: dict[str, Any]
    number: str | None = None
    account: str | None = None


class ClockOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/clock`."""

    advance_s: float


class Redelivery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/redeliver`: the last `count` bodies again, `times` times."""

    count: int = 1
    times: int = 1
    shuffle: bool = False


class ResetOrder(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/reset`. `world` also forgets apps, accounts, numbers, tokens and subscriptions."""

    world: bool = False
