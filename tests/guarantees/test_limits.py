"""G6: many processes together do not exceed Meta's limits."""

from datetime import datetime

import pytest
from sqlalchemy import text

from waypost.telemetry import spanfile

from ..ledger import Ledger
from .installation import Installation

SEND = "POST /{version}/{phone_number_id}/messages"


@pytest.mark.fault("G3")
def test_two_workers_stay_below_the_pair_limit(running: Installation) -> None:
    """Meta refuses no reply when two workers have sixty replies for one contact.

    Meta allows 45 replies at once, so the workers send a burst. The other replies wait in the queue.
    """
    contact = "15557000001"
    running.greet([contact])
    ledger = Ledger(running)
    ledger.deliver([ledger.message(contact) for _ in range(60)], ["webhook-1"])

    def sent() -> int:
        return sum(str(sent["to"]).endswith(contact) for sent in running.sent())

    def handled() -> bool:
        with running.engine.connect() as connection:
            waiting = text("SELECT count(*) FROM event WHERE state = 'waiting' AND contact_key = :contact")
            return not connection.execute(waiting, {"contact": contact}).scalar_one()

    running.wait(handled, what="all replies to be queued")
    running.wait(lambda: sent() >= 40, what="the burst to be sent")
    with running.engine.begin() as connection:
        of_contact = """
            FROM outbox JOIN conversation ON conversation.id = conversation_id JOIN contact ON contact.id = contact_id
            WHERE wa_id = :contact
        """
        rows = connection.execute(
            text(f"SELECT outbox.state, attempts {of_contact}"),
            {"contact": contact},
        ).all()
        # At one message in six seconds the rest would keep the next test waiting.
        connection.execute(
            text(f"DELETE FROM outbox WHERE state = 'queued' AND id IN (SELECT outbox.id {of_contact})"),
            {"contact": contact},
        )
    assert [row.attempts for row in rows if row.attempts] == []
    assert any(row.state == "queued" for row in rows)


def test_two_workers_share_a_numbers_throughput(running: Installation) -> None:
    """Two workers share a number's limit of 40 messages a second when a hundred contacts write at once.

    Each worker alone would use the whole limit. The bound of 60 allows for calls that a busy machine starts late.
    Tests in tests/sending use their own clock to prove that the limits never allow more than 40.
    """
    contacts = [f"1555710{number:04}" for number in range(100)]
    running.greet(contacts)
    running.quiesce()
    running.publish(messages_per_second=40)
    for worker in ("worker-1", "worker-2"):
        running.terminate(worker)
    running.start("worker-1", "worker-2")
    began = datetime.now().astimezone().timestamp()
    ledger = Ledger(running)
    ledger.deliver([ledger.message(contact) for contact in contacts], ["webhook-1"])
    running.quiesce()
    running.publish()
    for worker in ("worker-1", "worker-2"):
        running.terminate(worker)
    ledger.assert_replies()
    sends = [_start(span) for span in spanfile.read(running.folder / "traces") if span["name"] == SEND]
    starts = sorted(start for start in sends if start >= began)
    assert len(starts) == 100
    fullest = max(sum(first <= start < first + 1 for start in starts) for first in starts)
    assert fullest < 60


def _start(span: dict[str, object]) -> float:
    """Returns the start of a span in unix seconds."""
    return float(str(span["start_ns"])) / 1e9
