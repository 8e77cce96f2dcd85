"""G1: no acknowledged message is lost, whichever process dies."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ..ledger import Ledger
from .installation import Installation

CONTACTS = [f"1555100{number:04}" for number in range(20)]
WEBHOOKS = ["webhook-1", "webhook-2"]


@contextmanager
def load(ledger: Ledger, rounds: int) -> Iterator[Callable[[], int]]:
    """Lets every contact write `rounds` messages in order, from four threads.

    Yields a function that returns the number of acknowledged messages.
    """
    failures: list[BaseException] = []

    def write(contacts: list[str]) -> None:
        try:
            for _ in range(rounds):
                for contact in contacts:
                    ledger.deliver([ledger.message(contact)], WEBHOOKS)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(CONTACTS[part::4],)) for part in range(4)]
    for thread in threads:
        thread.start()
    yield lambda: len(ledger.acknowledged)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _wait_for_load(running: Installation, acknowledged: Callable[[], int], goal: int) -> None:
    running.wait(lambda: acknowledged() >= goal, what="some load")


@pytest.mark.fault("P1")
def test_killing_workers_and_webhooks_under_load_loses_nothing(running: Installation) -> None:
    """Processes get SIGKILL at random points, and every message that got a 200 is handled once and in order.

    A reply that was cut off is `unknown`.
    """
    running.greet(CONTACTS)
    ledger = Ledger(running)
    with load(ledger, rounds=12) as acknowledged:
        for number, victim in enumerate(("worker-1", "webhook-1", "worker-2", "webhook-2", "worker-1")):
            _wait_for_load(running, acknowledged, 30 * (number + 1))
            running.kill(victim)
            running.start(victim)
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=running.unsettled())


@pytest.mark.fault("S2")
def test_flushing_redis_under_load_loses_nothing(running: Installation) -> None:
    """FLUSHALL removes jobs, wake-ups and workers, but the sweeper finds every event again."""
    running.greet(CONTACTS)
    ledger = Ledger(running)
    redis = running.redis.client()
    with load(ledger, rounds=6) as acknowledged:
        for goal in (20, 50, 80, 110):
            _wait_for_load(running, acknowledged, goal)
            redis.flushall()
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()


@pytest.mark.fault("S1")
def test_killing_redis_under_load_loses_nothing(running: Installation) -> None:
    """Redis gets SIGKILL under load and starts again with its append-only file, several times."""
    running.greet(CONTACTS)
    ledger = Ledger(running)
    with load(ledger, rounds=6) as acknowledged:
        for goal in (20, 50, 80):
            _wait_for_load(running, acknowledged, goal)
            running.redis.kill()
            _wait_for_load(running, acknowledged, goal + 15)
            running.redis.start()
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()


@pytest.mark.fault("S1")
def test_messages_are_answered_without_redis(running: Installation) -> None:
    """Deliveries are acknowledged and answered while Redis is stopped, and also after Redis runs again."""
    running.greet(CONTACTS)
    ledger = Ledger(running)
    running.redis.kill()
    for contact in CONTACTS:
        ledger.deliver([ledger.message(contact)], WEBHOOKS)
    running.quiesce()
    ledger.assert_replies()
    running.redis.start()
    for contact in CONTACTS:
        ledger.deliver([ledger.message(contact)], WEBHOOKS)
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()


@pytest.mark.fault("S6")
def test_a_database_that_goes_away_and_comes_back_loses_nothing(running: Installation) -> None:
    """When the database is killed under load, deliveries get a 503 until it runs again.

    Every message that got a 200 is stored and handled.
    """
    running.greet(CONTACTS)
    ledger = Ledger(running)
    with load(ledger, rounds=8) as acknowledged:
        _wait_for_load(running, acknowledged, 40)
        running.postgres.kill()
        probe = ledger.body([ledger.message("15559999999")])
        ledger.order.pop("15559999999")
        assert ledger.post(probe, "webhook-1") == 503
        running.postgres.start()
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=running.unsettled())


@pytest.mark.fault("P4")
def test_a_rollout_of_webhooks_refuses_no_delivery(running: Installation) -> None:
    """After SIGTERM a webhook finishes the deliveries in flight, and each of them gets a 200."""
    ledger = Ledger(running)
    statuses: list[int | None] = []

    def write() -> None:
        for number in range(150):
            message = ledger.message(CONTACTS[number % 20])
            status = ledger.post(ledger.body([message]), "webhook-1")
            statuses.append(status)
            if status is None:
                return
            if status == 200:
                ledger.acknowledged.append(str(message["id"]))

    writer = threading.Thread(target=write)
    writer.start()
    running.wait(lambda: len(statuses) > 30, what="some load")
    assert running.terminate("webhook-1") == 0
    writer.join()
    assert set(statuses) <= {200, None}, "a refused connection goes to another pod; an answer other than 200 is a loss"
    running.quiesce()
    ledger.assert_nothing_lost()
