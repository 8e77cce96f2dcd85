"""From `kubectl apply` to a reply."""

from ..ledger import Ledger
from .installed import Installed

CONTACTS = [f"1555110{number:04}" for number in range(4)]


def test_a_number_that_was_applied_answers_what_is_delivered_from_outside(installed: Installed) -> None:
    """Every delivery gets 200, is stored once, and is answered in order."""
    installed.greet(CONTACTS)
    ledger = Ledger(installed)
    for _ in range(3):
        for contact in CONTACTS:
            ledger.deliver([ledger.message(contact)], ["webhook"])
    installed.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
