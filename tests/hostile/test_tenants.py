"""Tests that no query of the store returns or changes rows of another number.

Each public function of the store is called for one of two numbers, and the rows of the other number are compared. A
function that is not listed here fails the tests.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from sqlalchemy import Connection, Engine, text

from waypost import store
from waypost.cloudapi.inbound.delivery import Event, EventKind
from waypost.cloudapi.inbound.records import Identity, InboundStatus
from waypost.contracts.states import DailyCount, Direction, OptOutSource, OutboxState
from waypost.store import (
    claims,
    conversations,
    dead,
    inbox,
    numbers,
    outbox,
    pauses,
    reports,
    requests,
    schedules,
    statuses,
    tables,
    tally,
    turns,
)
from waypost.store.conversations import ForeignConversation, Person
from waypost.store.dead import Selection
from waypost.store.outbox import RowUpdate
from waypost.store.schedules import Tick

from .two_numbers import APP, NINE, OWNER, A, B, Shape, Tenant, grant, parts_of_b, queue, rows_of, shapes, tenants

pytestmark = pytest.mark.fault("X12")

LANES = range(tables.LANES)


def _status(a: Tenant, **fields: Any) -> InboundStatus:
    given: dict[str, Any] = {"number_id": a.number, "wamid": "wamid.out.1", "status": "failed", "error_code": 131}
    return InboundStatus(**(given | {"recipient": Identity("15550000000", None)} | fields))


def _correlations(connection: Connection, number: str) -> list[str]:
    query = text("SELECT correlation FROM outbox WHERE number_id = :number ORDER BY id")
    return [str(each) for each in connection.execute(query, {"number": number}).scalars()]


def _submit(connection: Connection, number: str, conversation: int, key: str) -> object:
    return requests.submit(connection, number_id=number, conversation_id=conversation, body={}, key=key)


def _begin(connection: Connection, a: Tenant) -> object:
    return schedules.begin_or_resume(
        connection, a.tick, namespace="team", name="news", number_id=a.number, orders={}, traceparent=None
    )


def _pause(connection: Connection, a: Tenant) -> None:
    pauses.pause_number(connection, a.number, seconds=60, code=1, reason="r", token_digest=None)


def _unpaused(connection: Connection, a: Tenant) -> bool:
    pauses.pause_number(connection, a.number, seconds=-60, code=1, reason="r", token_digest=None)
    return pauses.claim_probe(connection, a.number, seconds=60)


def _sending(connection: Connection, a: Tenant) -> list[int]:
    """Takes the next rows of all conversations of A, and returns their ids."""
    rows = outbox.next_rows(connection, [each.id for each in a.conversations])
    outbox.mark_sending(connection, OWNER, 60, {row.outbox_id: None for row in rows})
    return [row.outbox_id for row in rows]


def _finish(connection: Connection, a: Tenant) -> object:
    updates = [RowUpdate(each, OutboxState.SENT, wamid=f"wamid.{each}") for each in _sending(connection, a)]
    return outbox.finish(connection, OWNER, updates)


def _give_back(connection: Connection, a: Tenant) -> None:
    outbox.give_back(connection, OWNER, _sending(connection, a))


def _renew(connection: Connection, a: Tenant) -> None:
    outbox.renew(connection, OWNER, 60, _sending(connection, a))


def _hosted(connection: Connection, a: Tenant) -> object:
    event = claims.claim_hosted(connection, a.number, LANES, parked_s=60)
    if event is not None:
        assert claims.hold_hosted(connection, event)
        claims.put_back(connection, event, delay_s=0, counted=False)
    return event


def _number_and_ids(a: Tenant, b: Tenant) -> Selection:
    """Returns the selection of a person who may see A and names events of B."""
    return Selection(ids=(*a.dead, *b.dead), number_id=a.number)


_MONTH = (date(2020, 1, 1), date(2020, 1, 31))

Call = Callable[[Connection, Tenant, Tenant], object]

OF_ONE_NUMBER: Mapping[str, Call] = {
    "claims.mark_done": lambda c, a, _: claims.mark_done(c, 1, [(each, None) for each in a.waiting]),
    "claims.mark_dead": lambda c, a, _: claims.mark_dead(c, [(each, "Reason") for each in a.waiting]),
    "claims.retry_later": lambda c, a, _: claims.retry_later(c, [(each, "Reason", 1.0) for each in a.waiting]),
    "claims.claim_hosted": lambda c, a, _: _hosted(c, a),
    "claims.hold_hosted": lambda c, a, _: [claims.hold_hosted(c, each) for each in a.waiting],
    "claims.put_back": lambda c, a, _: claims.put_back(c, a.waiting[0], delay_s=1, counted=True),
    "conversations.load": lambda c, a, _: conversations.load(c, [*a.people, Person(a.number, "1", "US.0", "Eve", 0)]),
    "conversations.check_number": lambda c, a, _: conversations.check_number(c, a.number, [a.conversation]),
    "conversations.write": lambda c, a, _: conversations.write(c, [(each, "{}") for each in a.conversations]),
    "conversations.set_consent": lambda c, a, _: conversations.set_consent(
        c, a.contact, opted_out=True, source=OptOutSource.KEYWORD
    ),
    "conversations.set_marketing": lambda c, a, _: conversations.set_marketing(c, a.contact, stopped=True),
    # The new phone number is one that a contact of B has.
    "conversations.move": lambda c, a, b: conversations.move(c, a.contact, wa_id=b.people[-1].wa_id, user_id="US.0"),
    "dead.events": lambda c, a, b: dead.events(c, _number_and_ids(a, b), limit=100),
    "dead.count": lambda c, a, b: (dead.count(c, _number_and_ids(a, b)), len(a.dead)),
    "dead.sends": lambda c, a, _: dead.sends(c, number_id=a.number, limit=100),
    "dead.replay": lambda c, a, b: dead.replay(c, _number_and_ids(a, b), limit=100),
    "dead.drop": lambda c, a, b: dead.drop(c, _number_and_ids(a, b), limit=100, writer=1),
    "inbox.insert": lambda c, a, _: inbox.insert(
        c, [(Event(a.number, EventKind.MESSAGE, "wamid.0.0", "15550000000", 1.7e9, b"{}"), None)], 1
    ),
    "inbox.adopt": lambda c, a, _: inbox.adopt(c, app_id=APP, number_id=a.number, writer=1),
    "numbers.record": lambda c, a, _: numbers.record(c, [(a.number, "other", "other", "1")]),
    "outbox.next_rows": lambda c, a, _: outbox.next_rows(c, [each.id for each in a.conversations]),
    "outbox.lock": lambda c, a, _: outbox.lock(c, a.outbox),
    "outbox.mark_sending": lambda c, a, _: _sending(c, a),
    "outbox.refuse": lambda c, a, _: outbox.refuse(c, dict.fromkeys(a.outbox, "Reason")),
    "outbox.finish": lambda c, a, _: _finish(c, a),
    "outbox.add_sent_messages": lambda c, a, _: outbox.add_sent_messages(c, {key: {} for key in a.outbox}),
    "outbox.renew": lambda c, a, _: _renew(c, a),
    "outbox.give_back": lambda c, a, _: _give_back(c, a),
    "pauses.pause_number": lambda c, a, _: _pause(c, a),
    "pauses.claim_probe": lambda c, a, _: _unpaused(c, a),
    "pauses.resume_number": lambda c, a, _: pauses.resume_number(c, a.number),
    "pauses.pause_pair": lambda c, a, _: pauses.pause_pair(c, a.conversation, seconds=60),
    "pauses.stop_marketing": lambda c, a, _: pauses.stop_marketing(c, [each.id for each in a.conversations]),
    "pauses.close_window": lambda c, a, _: pauses.close_window(c, a.conversation, sent_at=2e9),
    "rates.grant_starts": lambda c, a, _: grant(c, a).answers,
    "reports.newest_dead": lambda c, a, _: reports.newest_dead(c, limit=100, number_id=a.number),
    "reports.newest_open_sends": lambda c, a, _: reports.newest_open_sends(c, limit=100, number_id=a.number),
    "reports.messages": lambda c, a, _: list(reports.messages(c, a.number, date(2020, 1, 1), date(2100, 1, 1))),
    "reports.days": lambda c, a, _: list(reports.days(c, a.number, *_MONTH)),
    "requests.submit": lambda c, a, _: _submit(c, a.number, a.conversation, "another key"),
    "requests.progress": lambda c, a, _: [requests.progress(c, each) for each in a.outbox],
    "schedules.begin_or_resume": lambda c, a, _: _begin(c, a),
    "schedules.delete_orders": lambda c, a, _: schedules.delete_orders(c, Tick(a.tick.schedule_uid, datetime.now(UTC))),
    "schedules.owner_of_number": lambda c, a, _: schedules.owner_of_number(c, a.number),
    "schedules.phones_of_contacts": lambda c, a, b: schedules.phones_of_contacts(
        c, a.number, [each.wa_id or "" for each in b.people]
    ),
    "schedules.queue_messages": lambda c, a, _: queue(c, Tick(a.tick.schedule_uid, datetime.now(UTC)), a, a),
    "schedules.finish": lambda c, a, _: schedules.finish(c, a.tick, result="Succeeded"),
    "schedules.sends_of_run": lambda c, a, _: schedules.sends_of_run(c, a.tick),
    # Meta's id of a message of B, and the correlation of B's rows.
    "statuses.apply": lambda c, a, b: statuses.apply(
        c,
        [_status(a)]
        + [_status(a, wamid=f"new {each}", callback_data=f"waypost:{each}") for each in _correlations(c, b.number)],
    ),
    "tally.add": lambda c, a, _: tally.add(c, 1, {(a.number, DailyCount.DONE): 1}),
    "turns.add_messages": lambda c, a, b: turns.add_messages(
        c, [turns.Incoming(b.number, a.conversation, Direction.IN, "wamid.0", "text", "a", NINE, None)]
    ),
    "turns.add_outgoing": lambda c, a, _: turns.add_outgoing(c, [turns.Outgoing(a.conversation, "{}")]),
    "turns.withdraw_notices": lambda c, a, _: turns.withdraw_notices(c, [each.id for each in a.conversations]),
}
"""One call of each function for number A. Where both a number and ids are given, ids of number B are among them."""

_LANES_ARE_SHARED = "A lane holds events of many numbers, and a worker drains it for all of them."
_FOR_A_PERSON = "For `waypost` commands and the console, which the platform team uses for all numbers."
_FOR_METRICS = "Counts all numbers for metrics."
_FOR_THE_SWEEP = "Sweeps all numbers, because no caller asks for what was forgotten."

OF_ALL_NUMBERS: Mapping[str, str] = {
    "claims.claim": _LANES_ARE_SHARED,
    "claims.hosted_numbers": _LANES_ARE_SHARED,
    "claims.lanes_with_due_events": _LANES_ARE_SHARED,
    "claims.delete_finished": _FOR_THE_SWEEP,
    "counts.by_number": _FOR_METRICS,
    "counts.outbox_by_number": _FOR_METRICS,
    "counts.paused": _FOR_METRICS,
    "counts.fold": _FOR_THE_SWEEP,
    "dead.not_dead": _FOR_A_PERSON,
    "inbox.is_writable": "Reads no row.",
    "inbox.unregistered_numbers": _FOR_THE_SWEEP,
    "leases.commit_lazily": "Reads no row.",
    "leases.acquire": _LANES_ARE_SHARED,
    "leases.hold": _LANES_ARE_SHARED,
    "leases.keep_alive": _LANES_ARE_SHARED,
    "leases.conclude": _LANES_ARE_SHARED,
    "leases.release": _LANES_ARE_SHARED,
    "outbox.expire_claims": _FOR_THE_SWEEP,
    "outbox.due_conversations": _FOR_THE_SWEEP,
    "pauses.paused_numbers": _FOR_THE_SWEEP,
    "rates.forget_idle_pairs": _FOR_THE_SWEEP,
    "reports.numbers": _FOR_A_PERSON,
    "reports.by_hour": _FOR_A_PERSON,
}
"""Functions that are about all numbers, with the reason."""

REFUSED: Mapping[str, tuple[type[Exception], Call]] = {
    "a request for A in a conversation of B": (
        ForeignConversation,
        lambda c, a, b: _submit(c, a.number, b.conversation, "new"),
    ),
    "a request for A with a key of B": (
        requests.KeyInUse,
        lambda c, a, b: _submit(c, a.number, a.conversation, f"key {b.number}"),
    ),
    "a run of A for contacts of B": (ForeignConversation, lambda c, a, b: queue(c, a.tick, a, b)),
    "a check of A with a conversation of B": (
        ForeignConversation,
        lambda c, a, b: conversations.check_number(c, a.number, [a.conversation, b.conversation]),
    ),
}
"""Calls that name number A and an id of number B, with the error that they raise."""


@pytest.fixture
def connection(database: Engine) -> Iterator[Connection]:
    """Yields one connection, whose changes are never committed."""
    with database.connect() as made:
        yield made


def _check(connection: Connection, shape_a: Shape, shape_b: Shape) -> None:
    connection.rollback()
    a, b = tenants(connection, shape_a, shape_b)
    before = rows_of(connection, B)
    for name, call in OF_ONE_NUMBER.items():
        with connection.begin_nested() as savepoint:
            assert parts_of_b(call(connection, a, b)) == [], name
            assert rows_of(connection, B) == before, name
            savepoint.rollback()
    for name, (error, call) in REFUSED.items():
        with connection.begin_nested() as savepoint:
            with pytest.raises(error):
                call(connection, a, b)
            assert rows_of(connection, B) == before, name
            savepoint.rollback()


@pytest.mark.parametrize("examples", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_a_call_for_one_number_neither_returns_nor_changes_rows_of_another(
    connection: Connection, examples: int, figure: Callable[..., None]
) -> None:
    """For random rows of two numbers, a call for one of them returns no row of the other and changes none."""

    @settings(max_examples=examples)
    @given(shape_a=shapes, shape_b=shapes)
    def holds(shape_a: Shape, shape_b: Shape) -> None:
        _check(connection, shape_a, shape_b)

    holds()
    figure("functions of the store, for one number", len(OF_ONE_NUMBER))
    figure("functions of the store, for all numbers by design", len(OF_ALL_NUMBERS))


def test_a_row_of_the_other_number_would_be_noticed(connection: Connection) -> None:
    """The checks of this file can fail: they see a returned row, and a changed one."""
    shape = Shape(1, 2, (OutboxState.FAILED,), has_bsuids=True, hosted=False, paused=True)
    _, b = tenants(connection, shape, shape)
    assert parts_of_b(dead.events(connection, Selection(), limit=100))
    assert parts_of_b(outbox.lock(connection, b.outbox))
    run = schedules.begin_or_resume(connection, b.tick, namespace="", name="", number_id=A, orders={}, traceparent=None)
    assert parts_of_b(run.orders)
    before = rows_of(connection, B)
    with connection.begin_nested() as savepoint:
        turns.add_outgoing(connection, [turns.Outgoing(b.conversation, "{}")])
        assert rows_of(connection, B) != before
        savepoint.rollback()
    assert rows_of(connection, B) == before


def test_each_function_of_the_store_is_listed() -> None:
    """A new function that works with a connection has a call in `OF_ONE_NUMBER`, or a reason in `OF_ALL_NUMBERS`."""
    found = set()
    for module in pkgutil.iter_modules(store.__path__, f"{store.__name__}."):
        if module.ispkg:
            continue  # the connection and the migrations, which know no number
        loaded = importlib.import_module(module.name)
        short = module.name.removeprefix(f"{store.__name__}.")
        for name, member in vars(loaded).items():
            if name.startswith("_") or getattr(member, "__module__", None) != module.name:
                continue
            if inspect.isfunction(member) and "connection" in inspect.signature(member).parameters:
                found.add(f"{short}.{name}")
            if inspect.isclass(member):
                methods = inspect.getmembers(member, inspect.isfunction)
                assert not [m for m, f in methods if "connection" in inspect.signature(f).parameters], (short, name)
    assert OF_ONE_NUMBER.keys() & OF_ALL_NUMBERS.keys() == set()
    assert found == OF_ONE_NUMBER.keys() | OF_ALL_NUMBERS.keys()


def test_each_table_has_the_number_of_its_rows() -> None:
    """Each table has a column for the number or the conversation, save the lanes, so that `rows_of` sees all rows."""
    owners = {"number_id", "conversation_id"}
    assert {name for name, table in tables.metadata.tables.items() if not owners & set(table.c.keys())} == {"lane"}
