"""X5 in a whole installation: real workers meet foreign jobs, run none of them, and answer every message."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from ..ledger import Ledger
from .installation import Installation

CONTACTS = ["15555000051", "15555000052"]
CONTENT = "canary-words-of-a-job"
JOBS = 20


@pytest.mark.fault("X5")
def test_foreign_jobs_run_nowhere_and_every_message_is_answered(
    running: Installation, tmp_path: Path, figure: Callable[..., None]
) -> None:
    """Foreign jobs come between messages. No worker runs or logs anything of them, and every message is answered."""
    running.greet(CONTACTS)
    running.quiesce()
    made = [tmp_path / f"made-{number}" for number in range(JOBS)]
    ledger = Ledger(running)
    with running.redis.client() as client:
        queue = Queue("waypost", connection=client, serializer=JSONSerializer)
        for folder in made:
            queue.enqueue("os.mkdir", str(folder), description=CONTENT)
            queue.enqueue("waypost.lanes.job.drain_lane", 0, on_success=Callback("os.getcwd"), meta={"is": CONTENT})
            client.rpush("rq:queue:waypost", CONTENT)
            client.zadd("waypost:woken", {CONTENT: 0})
            for contact in CONTACTS:
                ledger.deliver([ledger.message(contact)], ["webhook-1", "webhook-2"])
        client.set("rq:suspended", 1)
        ledger.deliver([ledger.message(CONTACTS[0])], ["webhook-1"])
        running.quiesce()
        client.delete("rq:suspended")
        running.wait(lambda: client.llen("rq:queue:waypost") == 0, what="all foreign jobs removed")
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    assert not any(folder.exists() for folder in made)
    for name in ("worker-1", "worker-2"):
        log = (running.folder / f"{name}.log").read_text()
        assert running.running(name)
        assert CONTENT not in log
    figure("foreign jobs among the messages", 3 * JOBS, "jobs")
