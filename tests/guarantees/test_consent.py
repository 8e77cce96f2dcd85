"""G5: contacts who must not get messages do not get any."""

from sqlalchemy import text

from ..ledger import Ledger
from .installation import Installation

CONTACT = "15556000001"


def test_after_stop_a_contact_gets_no_answer_until_start(running: Installation) -> None:
    """After STOP, the sender's gate refuses every reply to the contact until START, and records the reason.

    The bot itself would answer every message.
    """
    running.greet([CONTACT])
    ledger = Ledger(running)
    before = ledger.message(CONTACT)
    stop = ledger.message(CONTACT, "STOP")
    silenced = ledger.message(CONTACT)
    ledger.deliver([before], ["webhook-1"])
    running.quiesce()
    ledger.deliver([stop, silenced], ["webhook-1"])
    running.quiesce()
    ledger.deliver([ledger.message(CONTACT, "START"), ledger.message(CONTACT)], ["webhook-1"])
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=[str(stop["id"]), str(silenced["id"])])
    with running.engine.connect() as connection:
        reasons = connection.execute(
            text("""
                SELECT outbox.state, outbox.reason FROM outbox JOIN event ON event.id = outbox.event_id
                WHERE event.event_key = :key
            """),
            {"key": silenced["id"]},
        ).all()
    assert [tuple(row) for row in reasons] == [("failed", "OptedOut")]
