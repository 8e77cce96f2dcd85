"""G2: each event has one effect, also in large batches."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from ..ledger import Ledger
from .installation import NUMBER, Installation

WEBHOOKS = ["webhook-1", "webhook-2"]


@pytest.mark.fault("D1")
def test_the_same_events_five_times_shuffled_over_two_webhooks_have_one_effect(running: Installation) -> None:
    """Five copies of one delivery together have only one effect.

    The copies arrive in random order at two processes at once, so that they really race.
    """
    contacts = [f"1555200{number:04}" for number in range(10)]
    running.greet(contacts)
    ledger = Ledger(running)
    bodies = []
    for contact in contacts:
        message = ledger.message(contact)
        ledger.acknowledged.append(str(message["id"]))
        bodies.extend([ledger.body([message])] * 5)
    ledger.random.shuffle(bodies)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda item: ledger.post(item[1], WEBHOOKS[item[0] % 2]), enumerate(bodies)))
    assert set(statuses) == {200}
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    with running.engine.connect() as connection:
        duplicates = connection.execute(
            text("SELECT sum(value) FROM daily_metric WHERE number_id = :n AND name = 'duplicate'"), {"n": NUMBER}
        ).scalar_one()
    assert duplicates >= 40


@pytest.mark.fault("D4")
def test_a_batch_of_a_thousand_is_handled_except_for_the_bad_message_in_it(running: Installation) -> None:
    """A delivery with a thousand messages, one of them invalid, is acknowledged at once.

    The 999 valid messages are answered. The invalid one is dead with a reason.
    """
    contacts = [f"1555300{number:04}" for number in range(50)]
    running.greet(contacts)
    ledger = Ledger(running)
    messages = [ledger.message(contacts[number % 50]) for number in range(1000)]
    bad = str(messages[500]["id"])
    ledger.texts.pop(bad)
    ledger.order[contacts[0]].remove(bad)
    messages[500] = {"id": bad, "from": contacts[0], "timestamp": messages[500]["timestamp"], "type": "text", "text": 7}
    ledger.deliver(messages, WEBHOOKS)
    running.quiesce()
    ledger.assert_nothing_lost(dead=[bad])
    ledger.assert_replies()
