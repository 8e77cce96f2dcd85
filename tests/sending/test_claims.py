"""The sender's transactions by themselves: what a process knows of rows whose claim went wrong."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from waypost.contracts.registry import Number, Template
from waypost.sending.claims import ClaimBook

from .conftest import NUMBER, OTHER_NUMBER, Book, number


def known(_number_id: str) -> Number:
    """A registry that knows every number."""
    return number()


@pytest.fixture
def claimed_without_knowing(database: Engine, book: Book) -> tuple[ClaimBook, int]:
    """A claim whose commit was done and whose answer was lost: the process saw an error, the row is in flight."""
    rows = [book.queue(book.conversation()) for _ in range(2)]
    asked: list[str] = []

    def break_the_connection(number_id: str) -> Number:
        asked.append(number_id)
        if len(asked) == 2:
            book.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return number()

    claims = ClaimBook(database, break_the_connection, "a")
    with pytest.raises(DBAPIError):
        claims.claim(rows, [])
    claimed = "state = 'sending', claimed_by = 'a', claim_expires_at = now() + interval '15 s'"
    book.run(f"UPDATE outbox SET {claimed} WHERE id = :id", id=rows[0])
    return claims, rows[0]


def test_a_row_claimed_without_knowing_it_goes_back_for_it_was_surely_not_sent(
    book: Book, claimed_without_knowing: tuple[ClaimBook, int]
) -> None:
    """Otherwise a restart of PostgreSQL would leave messages unknown that nobody has tried to send."""
    claims, row = claimed_without_knowing
    claims.sweep([], 0)
    assert book.row(row).state == "queued"


def test_a_row_claimed_anew_after_a_failed_claim_stays_in_flight(
    book: Book, claimed_without_knowing: tuple[ClaimBook, int]
) -> None:
    """The doubt ends with the next claim: giving the row back then would send it twice."""
    claims, row = claimed_without_knowing
    book.run("UPDATE outbox SET state = 'queued', claimed_by = NULL, claim_expires_at = NULL WHERE id = :id", id=row)
    assert [claimed.head.outbox_id for claimed in claims.claim([row], []).claimed] == [row]
    claims.sweep([row], 0)
    assert book.row(row).state == "sending"


def test_rows_claimed_one_by_one_go_back_when_the_database_goes_away_among_them(database: Engine, book: Book) -> None:
    """The caller hears of an error only; rows claimed before it would stay in flight with nobody to send them."""
    first, last = (book.queue(book.conversation()) for _ in range(2))
    unstorable = book.queue(book.conversation(window_expires_at=None))
    asked_of_last: list[str] = []

    def break_the_connection(number_id: str) -> Number:
        asked_of_last.append(number_id)
        if len(asked_of_last) == 5:  # three together, then one by one
            book.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return number(outside_window=Template(name="a\0b", language="en"))

    claims = ClaimBook(database, break_the_connection, "a")
    with pytest.raises(DBAPIError):
        claims.claim([first, last, unstorable], [])
    assert book.row(first).state == "sending"
    claims.sweep([], 0)
    assert book.states() == ["queued", "queued", "queued"]


def test_a_sender_gives_others_time_to_renew_before_it_calls_their_rows_unknown(database: Engine, book: Book) -> None:
    """Right after a start or an outage every claim may look expired, though its owner is alive."""
    row = book.queue(
        book.conversation(), state="sending", claimed_by="b", claim_expires_at="sql:now() - interval '1 s'"
    )
    claims = ClaimBook(database, known, "a")
    claims.sweep([], 0)
    assert book.row(row).state == "sending"
    claims.sweep([], 0)
    assert book.row(row).state == "unknown"


def test_claims_of_calls_in_flight_are_renewed(database: Engine, book: Book) -> None:
    """A call may take longer than a claim lives."""
    row = book.queue(book.conversation())
    claims = ClaimBook(database, known, "a")
    claims.claim([row], [])
    book.run("UPDATE outbox SET claim_expires_at = now() + interval '1 s'")
    claims.sweep([row], 0)
    assert book.one("SELECT claim_expires_at > now() + interval '10 s' FROM outbox WHERE id = :id", id=row)


def test_one_row_of_a_conversation_is_in_flight_even_when_two_are_asked_for(database: Engine, book: Book) -> None:
    """Whatever two senders believe to be the next row, the database lets one of them go, and others are not held up."""
    conversation = book.conversation()
    rows = [book.queue(conversation), book.queue(conversation), book.queue(book.conversation())]
    claimed = ClaimBook(database, known, "a").claim(rows, []).claimed
    assert len(claimed) == 2
    assert claimed[-1].head.outbox_id == rows[2]
    assert book.states().count("sending") == 2


def test_a_row_that_the_limits_did_not_grant_is_not_sent_though_the_gate_opens(database: Engine, book: Book) -> None:
    """It was to be refused; meanwhile the contact has opted in again. It is looked at once more, with limits."""
    row = book.queue(book.conversation())
    claims = ClaimBook(database, known, "a").claim([], [row])
    assert (claims.claimed, claims.refused) == ([], [])
    assert book.row(row).state == "queued"


def test_the_gate_is_asked_again_under_the_lock(database: Engine, book: Book) -> None:
    """STOP came in after the row was looked up and before it was claimed."""
    conversation = book.conversation()
    row = book.queue(conversation)
    claims = ClaimBook(database, known, "a")
    assert [head.opted_out for head in claims.heads([conversation])] == [False]
    book.run("UPDATE contact SET opted_out_at = now()")
    result = claims.claim([row], [])
    assert [reason for _, reason in result.refused] == ["OptedOut"]
    assert book.row(row).state == "failed"


def test_only_one_sender_wins_the_probe_of_a_paused_number(database: Engine, book: Book) -> None:
    """Two senders, each with a message of its own for the number: one tries, the other waits."""
    book.run("UPDATE number SET paused_until = now() - interval '1 s' WHERE number_id = :n", n=NUMBER)
    first, second = book.queue(book.conversation()), book.queue(book.conversation())
    winners = ClaimBook(database, known, "a").claim([first], []).claimed
    losers = ClaimBook(database, known, "b").claim([second], []).claimed
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
def test_a_sweep_finds_what_is_due(database: Engine, book: Book, columns: dict[str, str], found: bool) -> None:
    """Queued and due, nothing else."""
    conversation = book.conversation()
    book.queue(conversation, **columns)
    assert ClaimBook(database, known, "a").sweep([], 10).due == ([conversation] if found else [])


def test_a_sweep_leaves_out_what_waits_behind_something(database: Engine, book: Book) -> None:
    """A row behind one in flight, behind one in back-off, in a paused pair, or of a paused number."""
    in_flight, backed_off = book.conversation(), book.conversation()
    paused = book.conversation(paused_until="sql:now() + interval '1 h'")
    book.queue(in_flight, state="sending", claimed_by="b", claim_expires_at="sql:now() + interval '1 h'")
    book.queue(backed_off, not_before="sql:now() + interval '1 h'")
    for conversation in (in_flight, backed_off, paused):
        book.queue(conversation)
    claims = ClaimBook(database, known, "a")
    assert claims.sweep([], 10).due == []
    free = book.conversation()
    book.queue(free)
    assert claims.sweep([], 10).due == [free]
    book.run("UPDATE number SET paused_until = now() + interval '1 h'")
    assert claims.sweep([], 10).due == []


def test_a_long_backlog_of_one_number_hides_no_other(database: Engine, book: Book) -> None:
    """Each number has its own share of a sweep."""
    for _ in range(50):
        book.queue(book.conversation())
    other = book.conversation(OTHER_NUMBER)
    book.queue(other)
    due = ClaimBook(database, known, "a").sweep([], 10).due
    assert len(due) == 11
    assert other in due
