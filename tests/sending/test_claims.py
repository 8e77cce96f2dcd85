"""Tests of the sender's transactions, mainly of claims that fail and of rows that are claimed."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from waypost.contracts.registry import Number, Template
from waypost.sending.claims import SenderTransactions

from .conftest import NUMBER, OTHER_NUMBER, Tables, number


def any_number(_number_id: str) -> Number:
    """Returns a registry entry for any number."""
    return number()


@pytest.fixture
def claimed_without_knowing(database: Engine, tables: Tables) -> tuple[SenderTransactions, int]:
    """Claims a row so that the commit succeeds but its answer is lost.

    The process sees an error although the row is in flight.
    """
    rows = [tables.queue(tables.conversation()) for _ in range(2)]
    asked: list[str] = []

    def break_the_connection(number_id: str) -> Number:
        asked.append(number_id)
        if len(asked) == 2:
            tables.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return number()

    transactions = SenderTransactions(database, break_the_connection, "a")
    with pytest.raises(DBAPIError):
        transactions.claim(rows, [])
    claimed = "state = 'sending', claimed_by = 'a', claim_expires_at = now() + interval '15 s'"
    tables.run(f"UPDATE outbox SET {claimed} WHERE id = :id", id=rows[0])
    return transactions, rows[0]


def test_a_row_whose_claim_looked_failed_is_queued_again(
    tables: Tables, claimed_without_knowing: tuple[SenderTransactions, int]
) -> None:
    """A row whose claim seemed to fail is queued again, because it was surely not sent.

    After a restart of PostgreSQL, a message that no sender tried to send must not become unknown.
    """
    transactions, row = claimed_without_knowing
    transactions.sweep([], 0)
    assert tables.row(row).state == "queued"


def test_a_row_claimed_again_after_a_failed_claim_stays_in_flight(
    tables: Tables, claimed_without_knowing: tuple[SenderTransactions, int]
) -> None:
    """A row that is claimed again after a failed claim stays in flight.

    If the row were queued again after the second claim, it would be sent twice.
    """
    transactions, row = claimed_without_knowing
    tables.run("UPDATE outbox SET state = 'queued', claimed_by = NULL, claim_expires_at = NULL WHERE id = :id", id=row)
    assert [claimed.row.outbox_id for claimed in transactions.claim([row], []).claimed] == [row]
    transactions.sweep([row], 0)
    assert tables.row(row).state == "sending"


def test_rows_claimed_one_by_one_go_back_when_the_database_goes_away_among_them(
    database: Engine, tables: Tables
) -> None:
    """If the database connection is lost while rows are claimed one by one, the rows are queued again.

    The caller sees only the error, so no process would send the rows that were claimed before the error.
    """
    first, last = (tables.queue(tables.conversation()) for _ in range(2))
    unstorable = tables.queue(tables.conversation(window_expires_at=None))
    asked_of_last: list[str] = []

    def break_the_connection(number_id: str) -> Number:
        asked_of_last.append(number_id)
        if len(asked_of_last) == 5:  # three together, then one by one
            tables.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return number(outside_window=Template(name="a\0b", language="en"))

    transactions = SenderTransactions(database, break_the_connection, "a")
    with pytest.raises(DBAPIError):
        transactions.claim([first, last, unstorable], [])
    assert tables.row(first).state == "sending"
    transactions.sweep([], 0)
    assert tables.states() == ["queued", "queued", "queued"]


def test_a_sender_gives_others_time_to_renew_before_it_calls_their_rows_unknown(
    database: Engine, tables: Tables
) -> None:
    """A sender marks expired rows of other senders as unknown only at its second sweep.

    Until then the other senders can renew their claims. Right after a start or an outage, every claim may look
    expired although its owner is alive.
    """
    row = tables.queue(
        tables.conversation(), state="sending", claimed_by="b", claim_expires_at="sql:now() - interval '1 s'"
    )
    transactions = SenderTransactions(database, any_number, "a")
    transactions.sweep([], 0)
    assert tables.row(row).state == "sending"
    transactions.sweep([], 0)
    assert tables.row(row).state == "unknown"


def test_a_claim_from_before_the_clock_went_back_expires(database: Engine, tables: Tables) -> None:
    """A claim that seems to last for hours was made before the clock of the database went back.

    Its conversation does not wait for hours.
    """
    row = tables.queue(
        tables.conversation(), state="sending", claimed_by="b", claim_expires_at="sql:now() + interval '3 h'"
    )
    transactions = SenderTransactions(database, any_number, "a")
    transactions.sweep([], 0)
    transactions.sweep([], 0)
    assert tables.row(row).state == "unknown"


def test_claims_of_calls_in_flight_are_renewed(database: Engine, tables: Tables) -> None:
    """Claims of calls in flight are renewed, because a call may take longer than a claim is valid."""
    row = tables.queue(tables.conversation())
    transactions = SenderTransactions(database, any_number, "a")
    transactions.claim([row], [])
    tables.run("UPDATE outbox SET claim_expires_at = now() + interval '1 s'")
    transactions.sweep([row], 0)
    assert tables.one("SELECT claim_expires_at > now() + interval '10 s' FROM outbox WHERE id = :id", id=row)


def test_one_row_of_a_conversation_is_in_flight_even_when_two_are_asked_for(database: Engine, tables: Tables) -> None:
    """If two rows of one conversation are to be claimed, the database allows only one of them.

    Rows of other conversations are claimed as usual.
    """
    conversation = tables.conversation()
    rows = [tables.queue(conversation), tables.queue(conversation), tables.queue(tables.conversation())]
    claimed = SenderTransactions(database, any_number, "a").claim(rows, []).claimed
    assert len(claimed) == 2
    assert claimed[-1].row.outbox_id == rows[2]
    assert tables.states().count("sending") == 2


def test_a_row_that_the_limits_did_not_allow_is_not_sent_though_the_gate_opens(
    database: Engine, tables: Tables
) -> None:
    """A row that the limits did not allow is not sent, even if the gate now allows it.

    This happens when the contact opts in again after the gate refused the row. The sender then looks at the row
    once more and asks the limits.
    """
    row = tables.queue(tables.conversation())
    result = SenderTransactions(database, any_number, "a").claim([], [row])
    assert (result.claimed, result.refused) == ([], [])
    assert tables.row(row).state == "queued"


def test_the_gate_is_asked_again_under_the_lock(database: Engine, tables: Tables) -> None:
    """The gate is asked again under the lock, because STOP may come in after the row was looked up."""
    conversation = tables.conversation()
    row = tables.queue(conversation)
    transactions = SenderTransactions(database, any_number, "a")
    assert [found.opted_out for found in transactions.next_rows([conversation])] == [False]
    tables.run("UPDATE contact SET opted_out_at = now()")
    result = transactions.claim([row], [])
    assert [reason for _, reason in result.refused] == ["OptedOut"]
    assert tables.row(row).state == "failed"


def test_only_one_sender_wins_the_probe_of_a_paused_number(database: Engine, tables: Tables) -> None:
    """If two senders each have a message for a paused number, one of them tries and the other waits."""
    tables.run("UPDATE number SET paused_until = now() - interval '1 s' WHERE number_id = :n", n=NUMBER)
    first, second = tables.queue(tables.conversation()), tables.queue(tables.conversation())
    winners = SenderTransactions(database, any_number, "a").claim([first], []).claimed
    losers = SenderTransactions(database, any_number, "b").claim([second], []).claimed
    assert [claimed.probe for claimed in winners] == [True]
    assert losers == []


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({}, True),
        ({"not_before": "sql:now() + interval '1 h'"}, False),
        ({"state": "sent"}, False),
        ({"state": "unknown"}, False),
    ],
)
def test_a_sweep_finds_what_is_due(database: Engine, tables: Tables, columns: dict[str, str], found: bool) -> None:
    """A sweep finds rows that are queued and due, and no others."""
    conversation = tables.conversation()
    tables.queue(conversation, **columns)
    assert SenderTransactions(database, any_number, "a").sweep([], 10).due == ([conversation] if found else [])


def test_a_sweep_leaves_out_what_waits_behind_something(database: Engine, tables: Tables) -> None:
    """A sweep leaves out rows that must wait.

    A row waits if an earlier row of its conversation is in flight or in back-off. A row also waits if its pair or
    its number is paused.
    """
    in_flight, backed_off = tables.conversation(), tables.conversation()
    paused = tables.conversation(paused_until="sql:now() + interval '1 h'")
    tables.queue(in_flight, state="sending", claimed_by="b", claim_expires_at="sql:now() + interval '50 s'")
    tables.queue(backed_off, not_before="sql:now() + interval '1 h'")
    for conversation in (in_flight, backed_off, paused):
        tables.queue(conversation)
    transactions = SenderTransactions(database, any_number, "a")
    assert transactions.sweep([], 10).due == []
    free = tables.conversation()
    tables.queue(free)
    assert transactions.sweep([], 10).due == [free]
    tables.run("UPDATE number SET paused_until = now() + interval '1 h'")
    assert transactions.sweep([], 10).due == []


def test_a_long_backlog_of_one_number_hides_no_other(database: Engine, tables: Tables) -> None:
    """Each number has its own share of a sweep, so a long backlog of one number does not hide other numbers."""
    for _ in range(50):
        tables.queue(tables.conversation())
    other = tables.conversation(OTHER_NUMBER)
    tables.queue(other)
    due = SenderTransactions(database, any_number, "a").sweep([], 10).due
    assert len(due) == 11
    assert other in due
