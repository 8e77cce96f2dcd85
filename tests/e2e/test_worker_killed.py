"""Workers die in the middle of calls to Meta."""

import pytest

from .installed import Installed
from .traffic import Ledger

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555150{number:04}" for number in range(8)]
TAKEN, DROPPED = CONTACTS[:4], CONTACTS[4:]
HELD_S = 20.0
"""Longer than killing takes, shorter than a worker waits for Meta."""


def test_calls_that_die_with_their_worker_are_not_made_again(installed: Installed) -> None:
    """What Meta took is settled by its status; what Meta dropped stays visible as unknown; nothing is said twice."""
    installed.greet(CONTACTS)
    installed.quiesce()
    for contact in CONTACTS:
        match = {"path": "messages", "type": "text", "to": contact}
        installed.fault(match=match, delay_s=HELD_S, reset=contact in DROPPED)
    ledger = Ledger(installed)
    cut = {contact: ledger.message(contact) for contact in CONTACTS}
    for message in cut.values():
        ledger.deliver([message], ["webhook"])
    dropped = {str(cut[contact]["id"]) for contact in DROPPED}
    states = {str(message["id"]): "sending" for message in cut.values()}

    installed.wait(lambda: installed.reply_states(states) == states, what="all calls to be under way")
    installed.kill(*installed.pods("worker"))
    assert not {sent["text"] for sent in installed.sent()} & set(ledger.texts.values()), "nothing was cut off"

    states = {identity: "unknown" if identity in dropped else "sent" for identity in states}
    installed.wait(lambda: installed.reply_states(states) == states, what="what is known to be settled")
    for contact in CONTACTS:
        ledger.deliver([ledger.message(contact)], ["webhook"])
    installed.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=dropped)
