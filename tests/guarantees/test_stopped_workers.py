"""Nothing is lost or doubled when workers are stopped, killed or suspended at random moments."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from ..ledger import Ledger
from ..traffic import Traffic
from .installation import Installation

pytestmark = pytest.mark.timeout(900)

CONTACTS = [f"1555193{number:04}" for number in range(60)]
WEBHOOKS = ("webhook-1", "webhook-2")
WORKERS = ("worker-1", "worker-2")


@pytest.fixture(scope="module")
def own(apart: Callable[..., Installation]) -> Installation:
    """Returns an installation of these tests' own."""
    running = apart()
    running.greet(CONTACTS)
    return running


@pytest.fixture
def steady(own: Installation) -> Installation:
    """Returns the installation with all processes, and without waiting work."""
    own.heal()
    return own


@pytest.mark.fault("P2")
@pytest.mark.slow
def test_workers_that_get_sigterm_at_random_moments_lose_nothing(
    steady: Installation, figure: Callable[..., None]
) -> None:
    """Workers get SIGTERM fourteen times at random moments, and each is replaced by a new one.

    The pace leaves pauses between messages, so that some signals meet a worker between the pop of a job and its
    start. Every worker ends in order, so no reply is unknown.
    """
    running = steady
    ledger, moments = Ledger(running), random.Random(2)
    rounds = 14
    with Traffic(ledger, CONTACTS, per_second=6, webhooks=WEBHOOKS) as traffic:
        for number in range(rounds):
            worker = WORKERS[number % 2]
            goal = len(traffic.latencies_s) + moments.randrange(1, 6)
            running.wait(lambda goal=goal: len(traffic.latencies_s) >= goal, what="some load")  # type: ignore[misc]
            assert running.terminate(worker) == 0
            running.start(worker)
    assert traffic.refused() == {}
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    figure("signals", rounds)
    figure("messages", len(ledger.acknowledged))


@pytest.mark.fault("P1")
@pytest.mark.slow
def test_workers_that_get_sigkill_at_random_moments_lose_nothing(
    steady: Installation, figure: Callable[..., None]
) -> None:
    """Workers get SIGKILL ten times at random moments. A reply that was cut off is `unknown` and not repeated."""
    running = steady
    ledger, moments = Ledger(running), random.Random(1)
    rounds = 10
    with Traffic(ledger, CONTACTS, per_second=8, webhooks=WEBHOOKS) as traffic:
        for number in range(rounds):
            worker = WORKERS[number % 2]
            goal = len(traffic.latencies_s) + moments.randrange(1, 8)
            running.wait(lambda goal=goal: len(traffic.latencies_s) >= goal, what="some load")  # type: ignore[misc]
            running.kill(worker)
            running.start(worker)
    assert traffic.refused() == {}
    running.quiesce()
    unsettled = running.unsettled() & set(ledger.acknowledged)
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=unsettled)
    figure("kills", rounds)
    figure("replies that stay unknown", len(unsettled))


@pytest.mark.fault("P3")
@pytest.mark.slow
def test_a_worker_that_was_suspended_during_a_turn_changes_nothing_later(steady: Installation, tmp_path: Path) -> None:
    """A worker is suspended during a turn until another worker has taken the message over and answered it.

    When the first one continues, its turn has ended too. Its result is refused, and it handles other messages.
    """
    running, contact = steady, CONTACTS[0]
    running.terminate("worker-2")
    ledger = Ledger(running)
    gate = tmp_path / "gate"
    message = ledger.message(contact, f"wait for {gate}")
    ledger.deliver([message], ["webhook-1"])
    running.wait(lambda: _attempts(running, str(message["id"])) == 1, what="the turn to begin")

    running.signal("worker-1", signal.SIGSTOP)
    gate.touch()
    running.start("worker-2")
    running.wait(lambda: running.event_states()[str(message["id"])] == "done", deadline_s=180, what="worker-2's turn")
    running.quiesce()
    before = _effects(running)
    running.signal("worker-1", signal.SIGCONT)
    running.terminate("worker-2")

    ledger.deliver([ledger.message(contact)], ["webhook-1"])
    running.quiesce()
    assert running.terminate("worker-1") == 0
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    assert _effects(running) == (before[0] + 1, before[1] + 1)


@pytest.mark.fault("P3")
@pytest.mark.slow
def test_workers_that_are_suspended_under_load_have_one_effect(
    steady: Installation, figure: Callable[..., None]
) -> None:
    """Under load workers are suspended beyond their leases and claims, one after the other, and continue."""
    running = steady
    ledger = Ledger(running)
    with Traffic(ledger, CONTACTS, per_second=6, webhooks=WEBHOOKS) as traffic:
        for worker in (*WORKERS, *WORKERS):
            traffic.wait_for_more(6)
            running.signal(worker, signal.SIGSTOP)
            # At this pace 20 s pass: more than a lease of a lane (8 s) or a claim of the sender (15 s).
            traffic.wait_for_more(120)
            running.signal(worker, signal.SIGCONT)
    assert traffic.refused() == {}
    running.quiesce()
    unsettled = running.unsettled() & set(ledger.acknowledged)
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=unsettled)
    figure("suspensions beyond the lease", 4)
    figure("replies that stay unknown", len(unsettled))


def _attempts(running: Installation, key: str) -> int:
    with running.engine.connect() as connection:
        query = text("SELECT coalesce(sum(attempts), 0) FROM event WHERE event_key = :key")
        return int(connection.execute(query, {"key": key}).scalar_one())


def _effects(running: Installation) -> tuple[int, int]:
    """Returns the turns that the conversation's state counts, and the rows of the outbox."""
    with running.engine.connect() as connection:
        turns = connection.execute(text("SELECT sum((state->>'turns')::int) FROM conversation")).scalar_one()
        return int(turns), int(connection.execute(text("SELECT count(*) FROM outbox")).scalar_one())
