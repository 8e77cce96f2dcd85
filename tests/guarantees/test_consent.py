"""G5: nobody is spoken to who must not be."""

from sqlalchemy import text

from .installation import Installation, Ledger

CONTACT = "15556000001"


def test_after_stop_nobody_is_answered_until_start(running: Installation) -> None:
    """The bot would answer; the gate in the sender refuses, and says why."""
    running.publish(bot_plugin=None)
    running.kill("worker-1")
    running.kill("worker-2")
    running.start("worker-1")
    ledger = Ledger(running)
    ledger.deliver([ledger.message(CONTACT, "STOP")], ["webhook-1"])
    running.quiesce()
    running.publish()
    running.kill("worker-1")
    running.start("worker-1")
    running.greet([CONTACT])
    running.quiesce()
    with running.engine.connect() as connection:
        refused = connection.execute(text("SELECT state, reason FROM outbox")).all()
    assert [(row.state, row.reason) for row in refused] == [("failed", "OptedOut")]
    assert running.sent() == []
