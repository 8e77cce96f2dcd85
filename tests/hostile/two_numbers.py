"""Two numbers with the same contacts, the same message ids and the same keys, as a hostile tenant would choose them.

Their rows are stored by the store's own functions.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.contracts.states import Direction, OutboxState
from waypost.store import (
    claims,
    conversations,
    inbox,
    numbers,
    outbox,
    pauses,
    rates,
    requests,
    schedules,
    tables,
    turns,
)
from waypost.store.claims import WaitingEvent
from waypost.store.conversations import Conversation, Person
from waypost.store.outbox import RowUpdate
from waypost.store.rates import NumberRequest
from waypost.store.schedules import ScheduledMessage, Tick

A, B = "106540352242922", "206540352242923"
APP = "300000000000001"
SECRET_OF_B = "text-of-b"
"""A part of every text of B, by which a returned row of B is recognised."""
FIRST_ID_OF_B = 7_000_000_001
"""All ids of B are at least this, so that they are recognised too."""
FIRST_ID_OF_A_LATER = 1_000_001
"""Ids of the rows that a call adds."""

NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
OWNER = "sender"


@dataclasses.dataclass(frozen=True)
class Shape:
    """What one number has."""

    contacts: int
    messages: int
    sends: tuple[OutboxState, ...]
    """States of the outbox rows of each contact."""
    has_bsuids: bool
    hosted: bool
    paused: bool


shapes = st.builds(
    Shape,
    contacts=st.integers(1, 3),
    messages=st.integers(2, 3),
    sends=st.lists(
        st.sampled_from([OutboxState.QUEUED, OutboxState.SENT, OutboxState.FAILED, OutboxState.UNKNOWN]),
        min_size=1,
        max_size=3,
    ).map(tuple),
    has_bsuids=st.booleans(),
    hosted=st.booleans(),
    paused=st.booleans(),
)


@dataclasses.dataclass
class Tenant:
    """One number, with the rows that the real code stored for it."""

    number: str
    tick: Tick
    people: list[Person]
    conversations: list[Conversation] = dataclasses.field(default_factory=list)
    waiting: list[WaitingEvent] = dataclasses.field(default_factory=list)
    dead: tuple[int, ...] = ()
    outbox: list[int] = dataclasses.field(default_factory=list)

    @property
    def conversation(self) -> int:
        """Returns the id of the first conversation."""
        return self.conversations[0].id

    @property
    def contact(self) -> int:
        """Returns the id of the first contact."""
        return self.conversations[0].contact_id

    @property
    def marker(self) -> str:
        """Returns the part that all texts of this number have."""
        return SECRET_OF_B if self.number == B else "text-of-a"


def _seeded(connection: Connection, number: str, shape: Shape) -> Tenant:
    """Stores events, conversations, messages, sends, a run and a pause of a number, with the store's own functions."""
    uid = f"uid-{number}"
    people = [
        Person(number, f"1555000{at:04}", f"US.{at}" if shape.has_bsuids else None, None, inbox.lane_of(number, ""))
        for at in range(shape.contacts)
    ]
    tenant = Tenant(number, Tick(uid, NINE), people)
    numbers.record(
        connection, [(number, "team", f"name-{tenant.marker}", f"9{number}")], hosted=[number][: shape.hosted]
    )
    content = f'{{"text":"{tenant.marker}"}}'.encode()
    events = [
        Event(number, EventKind.MESSAGE, f"wamid.{contact}.{at}", f"1555000{contact:04}", 1.7e9 + at, content)
        for contact in range(shape.contacts)
        for at in range(shape.messages)
    ]
    events.append(Event(number, EventKind.UNPARSEABLE, "broken", "", 0.0, content, "InvalidJson"))
    events.append(Event(inbox.unregistered(APP, number), EventKind.MESSAGE, "early", "1", 0.0, content, "Early"))
    inbox.insert(connection, [(event, None) for event in events], 1)
    tenant.waiting = _waiting(connection, number)
    tenant.dead = _ids(connection, "SELECT id FROM event WHERE number_id = :number AND state = 'dead'", number)
    claims.mark_done(connection, 1, [(tenant.waiting.pop(), None)])
    tenant.conversations = conversations.load(connection, people)
    turns.add_messages(
        connection,
        [
            turns.Incoming(number, each.id, Direction.IN, f"wamid.{at}", "text", tenant.marker, NINE, None)
            for at, each in enumerate(tenant.conversations)
        ],
    )
    body = {"type": "text", "text": {"body": tenant.marker}}
    for each in tenant.conversations:
        rows = [turns.Outgoing(each.id, msgspec.json.encode(body).decode()) for _ in shape.sends]
        turns.add_outgoing(connection, rows)
        for state in shape.sends:
            _send(connection, each.id, state)
    schedules.begin_or_resume(
        connection,
        tenant.tick,
        namespace="team",
        name="news",
        number_id=number,
        orders={"contacts": [tenant.marker]},
        traceparent=None,
    )
    queue(connection, tenant.tick, tenant, tenant)
    requests.submit(connection, number_id=number, conversation_id=tenant.conversation, body=body, key=f"key {number}")
    tenant.outbox = list(_ids(connection, "SELECT id FROM outbox WHERE number_id = :number", number))
    grant(connection, tenant)
    if shape.paused:
        pauses.pause_number(connection, number, seconds=9e5, code=190, reason=tenant.marker, token_digest=None)
    return tenant


def _waiting(connection: Connection, number: str) -> list[WaitingEvent]:
    rows = connection.execute(
        text("""
            SELECT id, number_id, kind, event_key, contact_key, lane, occurred_at, received_at, attempts, payload,
                traceparent FROM event WHERE number_id = :number AND state = 'waiting' ORDER BY id
        """),
        {"number": number},
    )
    return [WaitingEvent(*row) for row in rows]


def _ids(connection: Connection, query: str, number: str) -> tuple[int, ...]:
    return tuple(connection.execute(text(f"{query} ORDER BY id"), {"number": number}).scalars())


def _send(connection: Connection, conversation: int, state: OutboxState) -> None:
    """Brings the next queued row of a conversation into this state."""
    if state is OutboxState.QUEUED:
        return
    for row in outbox.next_rows(connection, [conversation]):
        outbox.lock(connection, [row.outbox_id])
        outbox.mark_sending(connection, OWNER, 60, {row.outbox_id: None})
        sent = state is OutboxState.SENT
        # Both numbers have messages with the same ids.
        wamid = f"wamid.out.{len(_ids(connection, 'SELECT id FROM message WHERE number_id = :number', row.number_id))}"
        outbox.finish(connection, OWNER, [RowUpdate(row.outbox_id, state, wamid=wamid if sent else None)])
        if sent:
            outbox.add_sent_messages(connection, {row.outbox_id: row.body})


def queue(connection: Connection, tick: Tick, sender: Tenant, recipients: Tenant) -> int:
    rows = [ScheduledMessage(each.id, each.contact_id, None) for each in recipients.conversations]
    body = {"type": "text", "text": {"body": sender.marker}}
    return schedules.queue_messages(
        connection, tick, rows, number_id=sender.number, body=body, priority=1, traceparent=None
    )


def rows_of(connection: Connection, number: str) -> str:
    """Returns all rows that belong to a number, as one JSON text."""
    mine = "number_id IN (:number, 'waba:9' || :number, 'app:' || :app || ':' || :number)"
    parts = []
    for name, table in sorted(tables.metadata.tables.items()):
        conditions = []
        if "number_id" in table.c:
            conditions.append(mine)
        if "conversation_id" in table.c:
            conditions.append("conversation_id IN (SELECT id FROM conversation WHERE number_id = :number)")
        if conditions:
            found = f"SELECT to_jsonb(t) AS r FROM {name} AS t WHERE {' OR '.join(conditions)}"
            parts.append(f"(SELECT '{name}', jsonb_agg(r ORDER BY r) FROM ({found}) AS found)")
    rows = connection.execute(text(" UNION ALL ".join(parts)), {"number": number, "app": APP}).all()
    return repr(sorted((name, content) for name, content in rows))


def _parts(value: object) -> Iterator[object]:
    """Yields the texts, bytes and numbers in a returned value, whatever it is made of."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _parts([getattr(value, each.name) for each in dataclasses.fields(value)])
    elif isinstance(value, Mapping):
        yield from _parts(list(value.items()))
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _parts(each)
    else:
        yield value


def parts_of_b(value: object) -> list[object]:
    """Returns the parts of a returned value that only B has."""
    return [each for each in _parts(value) if re.search(rf"{B}|{SECRET_OF_B}|\b7\d{{9}}\b", str(each))]


def grant(connection: Connection, tenant: Tenant) -> rates.StartsGranted:
    """Asks for a start of the first conversation of a number, so that the number and the pair have a limit's state."""
    rows = [(tenant.conversation, False, tenant.outbox[0])]
    wanted = NumberRequest(tenant.number, 12_500, 0, 10**9, 10**9, incoming=1, rows=rows)
    return rates.grant_starts(connection, [wanted], pair_interval=6_000_000, pair_tolerance=60_000_000, repeat_after=0)


def tenants(connection: Connection, shape_a: Shape, shape_b: Shape) -> tuple[Tenant, Tenant]:
    """Stores the rows of both numbers. Only rows of B have ids from `FIRST_ID_OF_B` on."""
    a = _seeded(connection, A, shape_a)
    _number_rows_from(connection, FIRST_ID_OF_B)
    b = _seeded(connection, B, shape_b)
    _number_rows_from(connection, FIRST_ID_OF_A_LATER)
    assert min(b.conversation, b.contact, *b.dead, *b.outbox) >= FIRST_ID_OF_B > max(a.conversation, *a.outbox)
    return a, b


def _number_rows_from(connection: Connection, first: int) -> None:
    for name, table in tables.metadata.tables.items():
        if "id" in table.c:
            connection.execute(text(f"ALTER TABLE {name} ALTER COLUMN id RESTART WITH {first}"))
