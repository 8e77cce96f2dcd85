"""Tests of statuses: their order does not matter, all are stored, and they settle a lost answer (G4)."""

import json
import uuid
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi.inbound.records import Identity, InboundStatus
from waypost.sending.settle import settle
from waypost.store.statuses import RANKS, Applied, MergedStatus, merged

from .conftest import NUMBER, OTHER_NUMBER, Tables

PERSON = Identity("393330000001", None)


def status(name: str, *, wamid: str = "wamid.1", number_id: str = NUMBER, **given_: Any) -> InboundStatus:
    """Returns one status as Meta reports it."""
    return InboundStatus(
        number_id=number_id, wamid=wamid, status=name, recipient=PERSON, occurred_at=1_790_000_000.0, **given_
    )


def apply(tables: Tables, *given_: InboundStatus) -> Applied:
    """Settles the statuses in a transaction of its own, as a drain would."""
    with tables.engine.begin() as connection:
        return settle(connection, given_)


def sent(tables: Tables, wamid: str = "wamid.1", **columns: Any) -> tuple[int, int]:
    """Stores a conversation with one sent message, and returns the ids of the outbox row and the conversation."""
    conversation = tables.conversation(**{"number_id": NUMBER, **columns})
    row = tables.queue(conversation, state="sent", wamid=wamid)
    tables.run(
        "INSERT INTO message (number_id, conversation_id, direction, wamid, type, occurred_at, outbox_id, traceparent)"
        " VALUES (:n, :c, 'out', :w, 'text', now(), :o, 'trace')",
        n=columns.get("number_id", NUMBER),
        c=conversation,
        w=wamid,
        o=row,
    )
    return row, conversation


def message(tables: Tables, wamid: str = "wamid.1") -> dict[str, Any]:
    """Returns the stored message."""
    found = tables.one("SELECT row_to_json(message) FROM message WHERE wamid = :w", w=wamid)
    return dict(found)


names = st.sampled_from([*RANKS, "held", "warning"])
codes = st.one_of(st.none(), st.integers(1, 200_000))


@pytest.mark.fault("D2")
@given(reported=st.lists(st.tuples(names, codes), max_size=6), shuffle=st.randoms())
def test_any_order_of_statuses_ends_the_same(reported: list[tuple[str, int | None]], shuffle: Any) -> None:
    """Statuses are merged into the highest one, so their order and repetitions do not matter."""

    def merge(items: list[tuple[str, int | None]]) -> MergedStatus:
        return max([MergedStatus(), *(merged(name, code) for name, code in items)])

    mixed = reported + reported[:2]
    shuffle.shuffle(mixed)
    assert merge(mixed) == merge(reported)


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
    """A message keeps its highest status, in whatever order statuses arrive. Unknown words change nothing.

    `delivered` may be missing. Any sign that a message arrived replaces `failed`.
    """
    for order in permutations(seen):
        assert max(MergedStatus(), *(merged(name, 1) for name in order)).status == stands


@pytest.mark.fault("D2")
def test_statuses_out_of_order_are_merged_and_all_stored(tables: Tables) -> None:
    """The message shows the highest status. Its list contains every status in order of arrival."""
    sent(tables)
    apply(tables, status("read"))
    apply(tables, status("sent", pricing_category="service", billable=True), status("delivered"))
    stored = message(tables)
    assert stored["status"] == "read"
    assert [entry["status"] for entry in stored["statuses"]] == ["read", "sent", "delivered"]
    assert stored["statuses"][1]["category"] == "service"
    assert "393330000001" not in json.dumps(stored["statuses"])


@pytest.mark.fault("G6")
def test_a_status_settles_a_row_whose_outcome_was_unknown(tables: Tables) -> None:
    """G4: the correlation in a status proves that an unknown row was sent.

    The row gets the wamid, and the conversation gets the message.
    """
    row = tables.queue(tables.conversation(), "perhaps", state="unknown", reason="ClaimExpired")
    applied = apply(tables, status("delivered", callback_data=f"waypost:{tables.row(row).correlation}"))
    assert (tables.row(row).state, tables.row(row).wamid, tables.row(row).reason) == ("sent", "wamid.1", None)
    stored = message(tables)
    assert (stored["status"], stored["body"], stored["outbox_id"]) == ("delivered", "perhaps", row)
    assert applied.settled == [tables.row(row).conversation_id]
    assert applied.matched == [True]


def test_a_status_that_overtakes_our_own_answer_settles_the_row(tables: Tables) -> None:
    """If Meta reports a message while its call is still in flight, the status settles the row."""
    row = tables.queue(
        tables.conversation(), state="sending", claimed_by="a", claim_expires_at="sql:now() + interval '1 min'"
    )
    apply(tables, status("sent", callback_data=f"waypost:{tables.row(row).correlation}"))
    assert (tables.row(row).state, tables.row(row).claimed_by) == ("sent", None)


def test_a_row_that_would_be_sent_again_is_not_when_meta_reports_it(tables: Tables) -> None:
    """If Meta reports a message whose row is queued for another try, the row is settled as sent."""
    row = tables.queue(tables.conversation(), not_before="sql:now() + interval '1 min'")
    apply(tables, status("sent", callback_data=f"waypost:{tables.row(row).correlation}"))
    assert tables.row(row).state == "sent"


def test_a_failed_status_settles_an_unknown_row_as_failed(tables: Tables) -> None:
    """A `failed` status settles an unknown row as failed. The row and the message get Meta's code."""
    row = tables.queue(tables.conversation(), state="unknown")
    apply(tables, status("failed", error_code=131026, callback_data=f"waypost:{tables.row(row).correlation}"))
    assert (tables.row(row).state, tables.row(row).error_code) == ("failed", 131026)
    assert message(tables)["error_code"] == 131026


@pytest.mark.fault("D2")
def test_a_message_that_failed_and_then_arrived_did_not_fail(tables: Tables) -> None:
    """If a message is reported as failed and as delivered, it counts as delivered, in either order.

    This holds for the message and for the outbox row.
    """
    row, _ = sent(tables)
    apply(tables, status("failed", error_code=131026))
    assert tables.row(row).state == "failed"
    apply(tables, status("delivered"))
    assert (tables.row(row).state, tables.row(row).error_code) == ("sent", None)
    apply(tables, status("failed", error_code=131026))
    assert (tables.row(row).state, message(tables)["status"]) == ("sent", "delivered")


def test_statuses_of_other_apps_are_counted_and_change_nothing(tables: Tables) -> None:
    """Statuses without our callback data change nothing. Another app of the same account may have sent the message."""
    row = tables.queue(tables.conversation(), state="unknown")
    correlation = tables.row(row).correlation
    applied = apply(
        tables,
        status("sent", wamid="wamid.other"),
        status("sent", wamid="wamid.x", callback_data="order-17"),
        status("sent", wamid="wamid.y", callback_data="waypost:not-a-uuid"),
        status("sent", wamid="wamid.z", callback_data=f"waypost:{uuid.uuid4()}"),
        status("sent", wamid="wamid.n", callback_data=f"waypost:{correlation}", number_id=OTHER_NUMBER),
    )
    assert applied.matched == [False] * 5
    assert tables.row(row).state == "unknown"
    assert tables.one("SELECT count(*) FROM message") == 0


def test_a_status_never_touches_a_message_that_came_in(tables: Tables) -> None:
    """A status never changes an incoming message, although messages of both directions are in one table."""
    conversation = tables.conversation()
    tables.run(
        "INSERT INTO message (number_id, conversation_id, direction, wamid, type, occurred_at)"
        " VALUES (:n, :c, 'in', 'wamid.1', 'text', now())",
        n=NUMBER,
        c=conversation,
    )
    assert apply(tables, status("read")).matched == [False]
    assert message(tables)["status"] is None


def test_the_trace_of_the_send_is_returned_for_each_status(tables: Tables) -> None:
    """Each status is returned with the trace of its send, so that the status's span can link to the send."""
    sent(tables)
    assert apply(tables, status("sent"), status("sent", wamid="wamid.other")).traceparents == ["trace", None]


def test_a_batch_of_a_hundred_is_applied_together(tables: Tables) -> None:
    """A batch with two statuses of each message is applied in one go, and both statuses are stored."""
    for index in range(50):
        sent(tables, f"wamid.{index}")
    reported = [status(name, wamid=f"wamid.{index}") for name in ("delivered", "sent") for index in range(50)]
    assert apply(tables, *reported).matched == [True] * 100
    assert (
        tables.one("SELECT count(*) FROM message WHERE status = 'delivered' AND jsonb_array_length(statuses) = 2") == 50
    )


def test_a_late_closed_window_closes_it_here_too_unless_it_was_opened_again(tables: Tables) -> None:
    """A status with 131047 closes the conversation's window, so that later replies do not try in vain.

    If the contact has written since, the window stays open.
    """
    _, stale = sent(tables, "wamid.1")
    _, fresh = sent(tables, "wamid.2", window_expires_at="sql:now() + interval '24 hours 5 minutes'")
    apply(tables, status("failed", error_code=131047), status("failed", wamid="wamid.2", error_code=131047))
    open_ = "SELECT window_expires_at > now() FROM conversation WHERE id = :id"
    assert (tables.one(open_, id=stale), tables.one(open_, id=fresh)) == (False, True)


def test_a_late_marketing_opt_out_is_recorded(tables: Tables) -> None:
    """Meta reports 131050 in a status, and the contact gets no more marketing messages."""
    _, conversation = sent(tables)
    apply(tables, status("failed", error_code=131050))
    contact = tables.one("SELECT contact_id FROM conversation WHERE id = :id", id=conversation)
    assert tables.one("SELECT marketing_stopped_at FROM contact WHERE id = :id", id=contact) is not None


def test_a_late_payment_problem_pauses_the_number(tables: Tables) -> None:
    """A status with 131042 pauses the number.

    Meta accepted the message but did not deliver it, for a reason that applies to every message.
    """
    sent(tables)
    apply(tables, status("failed", error_code=131042))
    assert tables.one("SELECT pause_code FROM number WHERE number_id = :n AND paused_until > now()", n=NUMBER) == 131042
    assert tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=OTHER_NUMBER) is None
