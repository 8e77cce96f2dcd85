"""The command `waypost send` puts one message into the outbox.

The gate and the limits apply to this message as to all others.
"""

import time
from uuid import uuid4

from sqlalchemy import Engine

from waypost.cloudapi.messages import Outgoing, Template, Text
from waypost.cloudapi.messages.recipient import InvalidRecipient, Recipient, parse
from waypost.command_errors import UsageError
from waypost.contracts.states import OutboxState
from waypost.store import conversations, reports, requests
from waypost.store.conversations import Person
from waypost.store.inbox import lane_of
from waypost.store.requests import Progress


class CannotSend(UsageError):
    """Raised when the request is invalid. The error message says what to change."""


def recipient(address: str) -> Recipient:
    """Parses `+393331234567` or `US.134912…`. Raises `CannotSend`, whose message never repeats the address."""
    try:
        return parse(address)
    except InvalidRecipient as error:
        raise CannotSend(f"--to {error}") from None


def message(text: str | None, template: str | None) -> Outgoing:
    """Returns a text message, or a template that is given as `name:language`.

    Raises `CannotSend` and `InvalidMessage`.
    """
    if (text is None) == (template is None):
        raise CannotSend("give either --text or --template")
    if text is not None:
        return Text(text)
    name, separator, language = (template or "").partition(":")
    if not separator:
        raise CannotSend("--template must be name:language, as order_ready:en")
    return Template(name=name, language=language)


def number_id(engine: Engine, name: str) -> str:
    """Returns the phone number id of `namespace/name`. A phone number id as `name` is accepted too.

    Raises `CannotSend`.
    """
    with engine.connect() as connection:
        ids = {f"{number.namespace}/{number.name}": number.number_id for number in reports.numbers(connection)}
    if name in ids:
        return ids[name]
    if name in ids.values():
        return name
    raise CannotSend(f"no number {name}; there are {', '.join(sorted(ids)) or 'none (a worker must run first)'}")


def request(engine: Engine, number: str, to: Recipient, content: Outgoing, key: str | None) -> tuple[int, bool]:
    """Queues the message. Returns the message's outbox id and whether the row is new. Raises `KeyInUse`."""
    with engine.begin() as connection:
        person = Person(number, to.wa_id, to.user_id, None, lane_of(number, to.key))
        conversation = conversations.load(connection, [person])[0]
        return requests.submit(
            connection,
            number_id=number,
            conversation_id=conversation.id,
            body=content.payload(),
            key=f"send:{number}:{key or uuid4().hex}",
        )


def outcome(engine: Engine, outbox_id: int, *, within_s: float) -> Progress:
    """Waits until the send has ended, for at most `within_s` seconds. Returns the progress of the send."""
    deadline = time.monotonic() + within_s
    while True:
        with engine.connect() as connection:
            progress = requests.progress(connection, outbox_id)
        if progress.state not in {OutboxState.QUEUED, OutboxState.SENDING} or time.monotonic() > deadline:
            return progress
        time.sleep(0.1)
