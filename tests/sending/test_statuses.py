"""Statuses: any order gives the same end, every one is kept, and a lost answer is settled (G4)."""

import json
import uuid
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi.inbound.records import Identity, InboundStatus
from waypost.sending.settle import settle
from waypost.store.statuses import RANKS, Applied, Standing, standing

from .conftest import NUMBER, OTHER_NUMBER, Book

PERSON = Identity("393330000001", None)


def status(name: str, *, wamid: str = "wamid.1", number_id: str = NUMBER, **given_: Any) -> InboundStatus:
    """One status of Meta's."""
    return InboundStatus(
        number_id=number_id, wamid=wamid, status=name, recipient=PERSON, occurred_at=1_790_000_000.0, **given_
    )


def apply(book: Book, *given_: InboundStatus) -> Applied:
    """Settle in a transaction of its own, as a drain would."""
    with book.engine.begin() as connection:
        return settle(connection, given_)


def sent(book: Book, wamid: str = "wamid.1", **columns: Any) -> tuple[int, int]:
    """A conversation with one message that went out; returns outbox row and conversation."""
    conversation = book.conversation(**{"number_id": NUMBER, **columns})
    row = book.queue(conversation, state="sent", wamid=wamid)
    book.run(
        "INSERT INTO message (number_id, conversation_id, direction, wamid, type, occurred_at, outbox_id, traceparent)"
        " VALUES (:n, :c, 'out', :w, 'text', now(), :o, 'trace')",
        n=columns.get("number_id", NUMBER),
        c=conversation,
        w=wamid,
        o=row,
    )
    return row, conversation


def message(book: Book, wamid: str = "wamid.1") -> dict[str, Any]:
    """The message as it stands."""
    found = book.one("SELECT row_to_json(message) FROM message WHERE wamid = :w", w=wamid)
    return dict(found)


names = st.sampled_from([*RANKS, "held", "warning"])
codes = st.one_of(st.none(), st.integers(1, 200_000))


@given(reported=st.lists(st.tuples(names, codes), max_size=6), shuffle=st.randoms())
def test_any_order_of_statuses_ends_the_same(reported: list[tuple[str, int | None]], shuffle: Any) -> None:
    """Merging is taking the highest, so order and repetition do not matter."""

    def merged(items: list[tuple[str, int | None]]) -> Standing:
        return max([Standing(), *(standing(name, code) for name, code in items)])

    mixed = reported + reported[:2]
    shuffle.shuffle(mixed)
    assert merged(mixed) == merged(reported)


@pytest.mark.parametrize(
    ("seen", "stands"),
    [
        (["sent", "delivered", "read"], "read"),
        (["read"], "read"),
        (["delivered", "sent"], "delivered"),
        (["failed"], "failed"),
        (["sent", "failed"], "failed"),
        (["failed", "delivered"], "delivered"),
        (["delivered", "played", "read"], "played"),
        (["held"], None),
        (["sent", "held"], "sent"),
    ],
)
def test_the_highest_status_stands(seen: list[str], stands: str | None) -> None:
    """`delivered` may be missing; `failed` gives way to any sign that it arrived; unknown words change nothing."""
    for order in permutations(seen):
        assert max(Standing(), *(standing(name, 1) for name in order)).status == stands


def test_statuses_out_of_order_are_merged_and_all_kept(book: Book) -> None:
    """The message shows the highest; its list shows what came, as it came."""
    sent(book)
    apply(book, status("read"))
    apply(book, status("sent", pricing_category="service", billable=True), status("delivered"))
    kept = message(book)
    assert kept["status"] == "read"
    assert [entry["status"] for entry in kept["statuses"]] == ["read", "sent", "delivered"]
    assert kept["statuses"][1]["category"] == "service"
    assert "393330000001" not in json.dumps(kept["statuses"])


def test_a_status_settles_a_row_whose_outcome_was_unknown(book: Book) -> None:
    """G4: the correlation proves that it went out; the row has its wamid, and the conversation its message."""
    row = book.queue(book.conversation(), "perhaps", state="unknown", reason="ClaimExpired")
    applied = apply(book, status("delivered", callback_data=f"waypost:{book.row(row).correlation}"))
    assert (book.row(row).state, book.row(row).wamid, book.row(row).reason) == ("sent", "wamid.1", None)
    kept = message(book)
    assert (kept["status"], kept["body"], kept["outbox_id"]) == ("delivered", "perhaps", row)
    assert applied.settled == [book.row(row).conversation_id]
    assert applied.matched == [True]


def test_a_status_that_overtakes_our_own_answer_settles_the_row(book: Book) -> None:
    """The call is still in flight here, and Meta already reports the message."""
    row = book.queue(
        book.conversation(), state="sending", claimed_by="a", claim_expires_at="sql:now() + interval '1 min'"
    )
    apply(book, status("sent", callback_data=f"waypost:{book.row(row).correlation}"))
    assert (book.row(row).state, book.row(row).claimed_by) == ("sent", None)


def test_a_row_that_would_be_sent_again_is_not_when_meta_reports_it(book: Book) -> None:
    """Whatever made us think it had not gone out, it has."""
    row = book.queue(book.conversation(), not_before="sql:now() + interval '1 min'")
    apply(book, status("sent", callback_data=f"waypost:{book.row(row).correlation}"))
    assert book.row(row).state == "sent"


def test_a_failed_status_settles_an_unknown_row_as_failed(book: Book) -> None:
    """With Meta's code."""
    row = book.queue(book.conversation(), state="unknown")
    apply(book, status("failed", error_code=131026, callback_data=f"waypost:{book.row(row).correlation}"))
    assert (book.row(row).state, book.row(row).error_code) == ("failed", 131026)
    assert message(book)["error_code"] == 131026


def test_a_message_that_failed_and_then_arrived_did_not_fail(book: Book) -> None:
    """Both orders end the same, in the message and in the outbox."""
    row, _ = sent(book)
    apply(book, status("failed", error_code=131026))
    assert book.row(row).state == "failed"
    apply(book, status("delivered"))
    assert (book.row(row).state, book.row(row).error_code) == ("sent", None)
    apply(book, status("failed", error_code=131026))
    assert (book.row(row).state, message(book)["status"]) == ("sent", "delivered")


def test_statuses_of_strangers_are_counted_and_change_nothing(book: Book) -> None:
    """Another app of the same account may send too; its callback data is not ours."""
    row = book.queue(book.conversation(), state="unknown")
    correlation = book.row(row).correlation
    applied = apply(
        book,
        status("sent", wamid="wamid.other"),
        status("sent", wamid="wamid.x", callback_data="order-17"),
        status("sent", wamid="wamid.y", callback_data="waypost:not-a-uuid"),
        status("sent", wamid="wamid.z", callback_data=f"waypost:{uuid.uuid4()}"),
        status("sent", wamid="wamid.n", callback_data=f"waypost:{correlation}", number_id=OTHER_NUMBER),
    )
    assert applied.matched == [False] * 5
    assert book.row(row).state == "unknown"
    assert book.one("SELECT count(*) FROM message") == 0


def test_a_status_never_touches_a_message_that_came_in(book: Book) -> None:
    """Wamids of both directions live in one table."""
    conversation = book.conversation()
    book.run(
        "INSERT INTO message (number_id, conversation_id, direction, wamid, type, occurred_at)"
        " VALUES (:n, :c, 'in', 'wamid.1', 'text', now())",
        n=NUMBER,
        c=conversation,
    )
    assert apply(book, status("read")).matched == [False]
    assert message(book)["status"] is None


def test_the_trace_of_the_send_is_told_for_each_status(book: Book) -> None:
    """So that the status's span can link back to it."""
    sent(book)
    assert apply(book, status("sent"), status("sent", wamid="wamid.other")).traceparents == ["trace", None]


def test_a_batch_of_a_hundred_is_applied_together(book: Book) -> None:
    """Several statuses of one message in one batch count as well."""
    for index in range(50):
        sent(book, f"wamid.{index}")
    reported = [status(name, wamid=f"wamid.{index}") for name in ("delivered", "sent") for index in range(50)]
    assert apply(book, *reported).matched == [True] * 100
    assert (
        book.one("SELECT count(*) FROM message WHERE status = 'delivered' AND jsonb_array_length(statuses) = 2") == 50
    )


def test_a_late_closed_window_closes_it_here_too_unless_it_was_opened_again(book: Book) -> None:
    """131047 as a status: later replies are not tried in vain; a contact who has written since may be answered."""
    _, stale = sent(book, "wamid.1")
    _, fresh = sent(book, "wamid.2", window_expires_at="sql:now() + interval '24 hours 5 minutes'")
    apply(book, status("failed", error_code=131047), status("failed", wamid="wamid.2", error_code=131047))
    open_ = "SELECT window_expires_at > now() FROM conversation WHERE id = :id"
    assert (book.one(open_, id=stale), book.one(open_, id=fresh)) == (False, True)


def test_a_late_marketing_opt_out_is_recorded(book: Book) -> None:
    """131050 as a status."""
    _, conversation = sent(book)
    apply(book, status("failed", error_code=131050))
    contact = book.one("SELECT contact_id FROM conversation WHERE id = :id", id=conversation)
    assert book.one("SELECT marketing_stopped_at FROM contact WHERE id = :id", id=contact) is not None


def test_a_late_payment_problem_pauses_the_number(book: Book) -> None:
    """131042 as a status: accepted, then not delivered, for a reason that every message shares."""
    sent(book)
    apply(book, status("failed", error_code=131042))
    assert book.one("SELECT pause_code FROM number WHERE number_id = :n AND paused_until > now()", n=NUMBER) == 131042
    assert book.one("SELECT paused_until FROM number WHERE number_id = :n", n=OTHER_NUMBER) is None
