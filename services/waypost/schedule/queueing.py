"""Queues the messages of a run.

Each recipient gets exactly one outbox row, even if the process is killed and restarted.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from datetime import time as time_of_day
from itertools import islice

import structlog
from sqlalchemy import Connection, Engine

from waypost.cloudapi.messages.recipient import Recipient, spellings, time_zones
from waypost.contracts.states import Priority
from waypost.schedule import audience
from waypost.schedule.actions.message import MessageAction
from waypost.schedule.context import RunContext
from waypost.schedule.outcome import ActionOutcome, NotYet, RunRefused, RunResult
from waypost.schedule.quiet_hours import QuietHours, send_at
from waypost.store import conversations, schedules
from waypost.store.conversations import Person
from waypost.store.inbox import lane_of
from waypost.store.schedules import ScheduledMessage, SendCounts, Tick

log = structlog.get_logger(__name__)

BATCH = 200
"""Recipients per transaction. A transaction of this size stays far below the statement timeout, and a run that was
killed has little to repeat."""

POLL_S = 0.5
"""Seconds between two looks at the outcome of the messages."""


def queue(context: RunContext, action: MessageAction) -> ActionOutcome:
    """Queues the message for each recipient who has no message of this tick yet.

    Raises `NotYet` or `RunRefused`. In both cases nothing has been queued.
    """
    _check_number(context)
    body = action.body()
    found = audience.from_contacts(action.audience.contacts or ())
    size = len(found.recipients)
    if size > action.max_recipients:
        detail = f"the audience has {size} people, but maxRecipients is {action.max_recipients}; nothing was sent"
        raise RunRefused(RunResult.TOO_MANY_RECIPIENTS, detail, recipients=size)
    not_before = _not_before(action, context.now, context.order.time_zone)
    done = 0
    for batch in _batches(found.recipients):
        with context.engine.begin() as connection:
            rows = _rows(connection, context.order.number_id, batch, not_before)
            new = schedules.queue_messages(
                connection,
                context.tick,
                rows,
                number_id=context.order.number_id,
                body=body,
                priority=Priority.BULK,
                traceparent=context.traceparent,
            )
        done += len(batch)
        log.info("queueing", done=done, of=size, new=new)
    with context.engine.connect() as connection:
        queued = schedules.sends_of_run(connection, context.tick).total
    # One person may be listed twice: by BSUID and phone number, or by two spellings of a number.
    found.skipped[audience.SkipReason.DUPLICATE] += size - queued
    return ActionOutcome(recipients=size, skipped=+found.skipped)


def _check_number(context: RunContext) -> None:
    """Checks that the number belongs to the schedule's namespace.

    The sender does not check this, because it compares only ids. Raises `NotYet` if no worker has recorded the
    number yet, and `RunRefused` if the number belongs to another namespace.
    """
    with context.engine.connect() as connection:
        owner = schedules.owner_of_number(connection, context.order.number_id)
    if owner is None:
        raise NotYet("no worker has seen this number yet")
    expected = (context.order.namespace, context.order.number)
    if owner != expected:
        detail = f"the phone number does not belong to {'/'.join(expected)}"
        raise RunRefused(RunResult.NUMBER_OF_ANOTHER, detail)


def settled(engine: Engine, tick: Tick, *, within_s: float) -> SendCounts:
    """Waits until no message of the run is due any more, but at most `within_s` seconds.

    Returns the number of messages for each outcome.
    """
    deadline = time.monotonic() + within_s
    while True:
        with engine.connect() as connection:
            sends = schedules.sends_of_run(connection, tick)
        if not sends.due or time.monotonic() >= deadline:
            return sends
        time.sleep(POLL_S)


def _not_before(action: MessageAction, now: datetime, schedule_zone: str) -> Callable[[Recipient], datetime | None]:
    if action.quiet_hours is None:
        return lambda _recipient: None
    begin, end = (time_of_day.fromisoformat(word) for word in (action.quiet_hours.from_, action.quiet_hours.to))
    quiet = QuietHours(begin, end)

    def after_quiet_hours(recipient: Recipient) -> datetime | None:
        moment = send_at(now, quiet, time_zones(recipient), schedule_zone)
        return None if moment == now else moment

    return after_quiet_hours


def _rows(
    connection: Connection,
    number_id: str,
    recipients: Sequence[Recipient],
    not_before: Callable[[Recipient], datetime | None],
) -> list[ScheduledMessage]:
    people = _people(connection, number_id, recipients)
    found = conversations.load(connection, people)
    return [
        ScheduledMessage(conversation.id, conversation.contact_id, not_before(recipient))
        for recipient, conversation in zip(recipients, found, strict=True)
    ]


def _people(connection: Connection, number_id: str, recipients: Sequence[Recipient]) -> list[Person]:
    """Returns the person behind each recipient.

    A contact may be stored under another spelling of the phone number. In that case the stored spelling is used,
    so that the contact's recorded consent still applies.
    """
    candidates = [spelling for r in recipients if r.wa_id for spelling in spellings(r.wa_id)]
    stored = schedules.phones_of_contacts(connection, number_id, candidates)
    people = []
    for recipient in recipients:
        wa_id = recipient.wa_id
        if wa_id is not None:
            wa_id = next((spelling for spelling in spellings(wa_id) if spelling in stored), wa_id)
        key = recipient.user_id or wa_id or ""
        people.append(Person(number_id, wa_id, recipient.user_id, None, lane_of(number_id, key)))
    return people


def _batches(recipients: Sequence[Recipient]) -> Iterator[tuple[Recipient, ...]]:
    remaining = iter(recipients)
    while batch := tuple(islice(remaining, BATCH)):
        yield batch
