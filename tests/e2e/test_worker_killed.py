"""Tests that kill workers in the middle of calls to Meta."""

import pytest

from ..ledger import Ledger
from .installed import Installed

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555150{number:04}" for number in range(8)]
TAKEN, DROPPED = CONTACTS[:4], CONTACTS[4:]
HELD_S = 20.0
"""How long Meta delays its answer: longer than killing takes, shorter than a worker waits."""


@pytest.mark.fault("P1")
def test_calls_of_a_killed_worker_are_not_repeated(installed: Installed) -> None:
    """After a worker was killed during calls to Meta, no message is sent twice.

    A reply that Meta accepted becomes `sent` when its status arrives. A reply that Meta dropped stays `unknown`.
    """
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
    installed.wait(lambda: installed.reply_states(states) == states, what="the accepted replies to be settled")
    for contact in CONTACTS:
        ledger.deliver([ledger.message(contact)], ["webhook"])
    installed.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=dropped)
