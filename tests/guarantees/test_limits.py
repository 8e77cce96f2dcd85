"""G6: Meta's limits are not exceeded from many processes together."""

from sqlalchemy import text

from .installation import Installation, Ledger


def test_two_workers_stay_below_the_pair_limit(running: Installation) -> None:
    """One contact, sixty replies, two workers: of the burst (45 at once) Meta refuses none, and the rest waits."""
    contact = "15557000001"
    running.greet([contact])
    ledger = Ledger(running)
    ledger.deliver([ledger.message(contact) for _ in range(60)], ["webhook-1"])

    def sent() -> int:
        return sum(str(sent["to"]).endswith(contact) for sent in running.sent())

    running.wait(lambda: sent() >= 44, what="the burst to be sent")
    with running.engine.begin() as connection:
        refused = connection.execute(text("SELECT count(*) FROM outbox WHERE attempts > 0")).scalar_one()
        waiting = connection.execute(text("SELECT count(*) FROM outbox WHERE state = 'queued'")).scalar_one()
        # At one message in six seconds the rest would keep the next test waiting.
        connection.execute(
            text(
                "DELETE FROM outbox USING conversation, contact WHERE outbox.state = 'queued'"
                " AND conversation.id = conversation_id AND contact.id = contact_id AND wa_id = :contact"
            ),
            {"contact": contact},
        )
    assert refused == 0
    assert waiting > 0


def test_two_workers_stay_below_a_numbers_throughput(running: Installation) -> None:
    """A hundred contacts at once, 40 messages a second: both workers together are never told 130429 by Meta."""
    contacts = [f"1555710{number:04}" for number in range(100)]
    running.greet(contacts)
    running.quiesce()
    running.seed_meta(messages_per_second=40)
    running.publish(messages_per_second=40)
    for worker in ("worker-1", "worker-2"):
        running.terminate(worker)
    running.start("worker-1", "worker-2")
    ledger = Ledger(running)
    ledger.deliver([ledger.message(contact) for contact in contacts], ["webhook-1"])
    running.quiesce()
    running.publish()
    with running.engine.begin() as connection:
        refused = connection.execute(text("SELECT count(*) FROM outbox WHERE attempts > 0")).scalar_one()
    assert refused == 0
    ledger.assert_replies()
