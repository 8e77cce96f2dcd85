"""Tests that roll out the webhook while Meta delivers messages."""

import pytest

from ..ledger import Ledger
from ..traffic import Traffic
from .installed import Installed

pytestmark = pytest.mark.timeout(600)

# With so many, a slow rollout does not reach Meta's limit of messages to one contact, which would hold replies back.
CONTACTS = [f"1555120{number:04}" for number in range(480)]
PER_SECOND = 50


@pytest.mark.fault("P4")
def test_a_rollout_of_the_webhook_breaks_no_delivery(installed: Installed) -> None:
    """During a rollout at 50 deliveries a second, every delivery gets a 200.

    The server announces the close of a connection before it closes it.
    """
    installed.greet(CONTACTS)
    old = set(installed.pods("webhook"))
    with Traffic(Ledger(installed), CONTACTS, per_second=PER_SECOND) as traffic:
        traffic.wait_for_more(PER_SECOND)
        installed.rollout("webhook")
        installed.wait(lambda: not old & installed.present("webhook"), what="the old pods to be gone")
        traffic.wait_for_more(PER_SECOND)
    assert traffic.refused() == {}
    installed.quiesce()
    traffic.ledger.assert_nothing_lost()
    traffic.ledger.assert_replies()
