"""G4: a send whose outcome is unknown is never repeated blindly. The status webhook settles its outcome."""

import pytest
from sqlalchemy import text

from ..ledger import Ledger
from .installation import Installation

CONTACT = "15555000001"
READER = "15555000002"


@pytest.mark.fault("G6")
def test_a_reply_lost_after_acceptance_is_settled_by_the_status_and_not_sent_twice(running: Installation) -> None:
    """A reply that Meta accepted is not sent twice if Meta's answer is lost.

    The row is `unknown` until a status arrives with our id. The status changes the row to `sent`.
    """
    running.greet([CONTACT])
    running.quiesce()
    running.seed_meta(sent_after_s=2.0, delivered_after_s=None)
    running.fault(match={"path": "messages"}, reset_after_accept=True, times=1)
    ledger = Ledger(running)
    ledger.deliver([ledger.message(CONTACT)], ["webhook-1"])

    def states() -> list[str]:
        with running.engine.connect() as connection:
            return list(connection.execute(text("SELECT state FROM outbox ORDER BY id DESC LIMIT 1")).scalars())

    running.wait(lambda: states() == ["unknown"], what="the lost answer to be noticed")
    running.wait(lambda: states() == ["sent"], what="the status to settle it")
    running.quiesce()
    ledger.assert_replies()
    ledger.assert_nothing_lost()


@pytest.mark.fault("D2")
def test_statuses_out_of_order_never_take_a_message_back(running: Installation) -> None:
    """A message stays `read` when a repeated `delivered` arrives after `read`. Every status is stored."""
    running.greet([READER])
    running.quiesce()
    sent = next(sent for sent in running.sent() if str(sent["to"]).endswith(READER))
    for status in ("read", "delivered", "sent", "read", "delivered"):
        running.http.post(
            f"{running.url('simulator')}/_sim/status", json={"wamid": sent["wamid"], "status": status}
        ).raise_for_status()

    def row() -> tuple[str, set[str]]:
        with running.engine.connect() as connection:
            found = connection.execute(
                text("SELECT status, statuses FROM message WHERE wamid = :wamid"), {"wamid": sent["wamid"]}
            ).one()
            return found.status, {entry["status"] for entry in found.statuses}

    running.wait(lambda: row() == ("read", {"sent", "delivered", "read"}), what="all statuses stored, highest shown")
    running.quiesce()
    running.assert_counts_hold()
    assert row()[0] == "read"
