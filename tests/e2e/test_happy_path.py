"""Tests the whole way from `kubectl apply` to a reply."""

from ..ledger import Ledger
from .installed import Installed

CONTACTS = [f"1555110{number:04}" for number in range(4)]


def test_an_applied_number_answers_messages_from_outside_the_cluster(installed: Installed) -> None:
    """Every delivery from outside the cluster gets a 200, is stored once, and is answered in order."""
    installed.greet(CONTACTS)
    ledger = Ledger(installed)
    for _ in range(3):
        for contact in CONTACTS:
            ledger.deliver([ledger.message(contact)], ["webhook"])
    installed.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
