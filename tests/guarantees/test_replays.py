"""A recorded delivery that is sent again has no second effect, however old it is."""

import time

import pytest
from sqlalchemy import text

from waypost.lanes.sweeper import Sweeper

from ..ledger import Ledger
from .installation import Installation

CONTACTS = [f"1555194{number:04}" for number in range(5)]
WEBHOOKS = ["webhook-1", "webhook-2"]
DAY_S = 24 * 3600


@pytest.mark.fault("D3")
def test_a_delivery_of_eight_days_ago_is_known(running: Installation) -> None:
    """Deliveries that were handled eight days ago arrive again, and are duplicates: nothing happens.

    The rows are made eight days older, and then the sweeper deletes what is older than the retention.
    """
    running.greet(CONTACTS)
    ledger = Ledger(running)
    bodies = []
    for contact in CONTACTS:
        messages = [ledger.message(contact)]
        ledger.deliver(messages, WEBHOOKS)
        bodies.append(ledger.body(messages))
    running.quiesce()
    with running.engine.begin() as connection:
        for column in ("occurred_at", "received_at", "finished_at"):
            statement = f"UPDATE event SET {column} = {column} - interval '8 days' WHERE event_key = ANY(:keys)"
            connection.execute(text(statement), {"keys": ledger.acknowledged})
    Sweeper(running.engine, lambda _lanes: None, interval_s=1, retention_days=9).tidy()

    assert [ledger.post(body, webhook) for body in bodies for webhook in WEBHOOKS] == [200] * 10
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()


@pytest.mark.fault("D3")
def test_an_old_delivery_that_was_forgotten_is_not_answered(running: Installation) -> None:
    """Deliveries of nine days ago, which the inbox knows no more, are stored once and not answered.

    The bot is not asked, and the state of the conversations stays.
    """
    running.greet(CONTACTS)
    running.quiesce()
    before = _conversations(running)
    ledger = Ledger(running)
    for contact in CONTACTS:
        message = {**ledger.message(contact), "timestamp": str(int(time.time()) - 9 * DAY_S)}
        body = ledger.body([message])
        assert [ledger.post(body, webhook) for webhook in (*WEBHOOKS, *WEBHOOKS)] == [200] * 4
        ledger.acknowledged.append(str(message["id"]))
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=ledger.acknowledged)
    assert _conversations(running) == before


def _conversations(running: Installation) -> list[tuple[object, ...]]:
    """Returns state, window and owner of the conversations with our contacts."""
    with running.engine.connect() as connection:
        query = text("""
            SELECT wa_id, state, window_expires_at, owner FROM conversation JOIN contact ON contact.id = contact_id
            WHERE wa_id = ANY(:contacts) ORDER BY wa_id
        """)
        return [tuple(row) for row in connection.execute(query, {"contacts": CONTACTS})]
