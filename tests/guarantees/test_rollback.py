"""An upgrade and a rollback: processes of two releases work on one database, one Redis and one registry.

The code of the previous release runs on the schema of this one, because a rollback leaves the schema as it is.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis

from .. import previous_release
from ..ledger import Ledger
from .installation import NUMBER, Installation

pytestmark = [pytest.mark.slow, pytest.mark.fault("K7")]

# With so many, no contact gets messages faster than Meta allows, which would hold replies back.
CONTACTS = [f"1555170{number:04}" for number in range(240)]
WRITERS = 4
PAUSE_S = 0.1
WEBHOOKS = ["webhook-1", "webhook-2"]
ALL = (*WEBHOOKS, "worker-1", "worker-2")
BETWEEN = 60
"""Messages that are acknowledged between two steps."""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder with the code of the previous release."""
    return previous_release.unpack(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def running(tmp_path: Path, short_folder: Path, free_port: Callable[[], int]) -> Iterator[Installation]:
    """Yields a new installation of this release, whose processes can be replaced by those of the previous one."""
    postgres, redis = EmbeddedPostgres(short_folder / "kp"), EmbeddedRedis(short_folder / "kr")
    postgres.start()
    redis.start()
    made = Installation(tmp_path, postgres, redis, free_port)
    try:
        made.publish()
        made.start("simulator")
        made.start(*ALL)
        made.seed_meta()
        yield made
    finally:
        made.close()
        redis.stop()
        postgres.stop()


@contextmanager
def _traffic(ledger: Ledger) -> Iterator[Callable[[int], None]]:
    """Lets the contacts write in turn until the end of the block. Yields a function that waits for more messages."""
    stop, failures = threading.Event(), list[BaseException]()

    def write(contacts: list[str]) -> None:
        try:
            for contact in cycle(contacts):
                ledger.deliver([ledger.message(contact)], WEBHOOKS)
                if stop.wait(PAUSE_S):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread below
            failures.append(error)

    def wait_for_more(messages: int) -> None:
        goal = len(ledger.acknowledged) + messages
        ledger.installation.wait(lambda: len(ledger.acknowledged) >= goal or failures, what="more messages")

    threads = [threading.Thread(target=write, args=(CONTACTS[part::WRITERS],)) for part in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield wait_for_more
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def _use(running: Installation, name: str, code: Path | None) -> None:
    """Makes later starts of a process run the code of another release, or of this one if `code` is None."""
    path = running.environment["PYTHONPATH"]
    running.environments[name] = {} if code is None else {"PYTHONPATH": f"{code}{os.pathsep}{path}"}


def _replace(running: Installation, name: str, code: Path | None) -> None:
    """Ends a process as a rollout does, and starts it with the code of a release. None stands for this one."""
    assert running.terminate(name) == 0
    _use(running, name, code)
    running.start(name)


def test_versions_side_by_side_and_a_rollback_lose_nothing(
    running: Installation, previous: Path, figure: Callable[..., None]
) -> None:
    """Webhooks and workers are rolled back one by one under load, work alone for a while, and are upgraded again.

    Every message that got a 200 is answered once, in order within its conversation.
    """
    running.greet(CONTACTS)
    ledger = Ledger(running)
    counts = []
    with _traffic(ledger) as wait_for_more:
        wait_for_more(BETWEEN)
        for name in ("worker-1", "webhook-1", "webhook-2", "worker-2"):
            _replace(running, name, previous)
            wait_for_more(BETWEEN)
        counts.append(len(ledger.acknowledged))
        wait_for_more(5 * BETWEEN)
        counts.append(len(ledger.acknowledged))
        for name in ("webhook-1", "worker-2", "worker-1", "webhook-2"):
            _replace(running, name, None)
            wait_for_more(BETWEEN)
    running.quiesce()
    figure("messages acknowledged across the rollback and back", len(ledger.acknowledged))
    figure("of these, by the previous release alone", counts[1] - counts[0])
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=running.unsettled())
    assert not running.unsettled(), "an orderly end cuts no call off"


def test_what_waits_during_a_rollback_is_handled_by_the_other_release(running: Installation, previous: Path) -> None:
    """Events that wait when all workers are replaced are handled by the workers of the other release."""
    running.greet(CONTACTS)
    ledger = Ledger(running)
    for code in (previous, None):
        running.quiesce()
        for name in ("worker-1", "worker-2"):
            assert running.terminate(name) == 0
        for contact in CONTACTS[:40]:
            ledger.deliver([ledger.message(contact) for _ in range(3)], WEBHOOKS)
        for name in ("worker-1", "worker-2"):
            _use(running, name, code)
        running.start("worker-1", "worker-2")
        for contact in CONTACTS[:40]:
            ledger.deliver([ledger.message(contact)], WEBHOOKS)
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()


def test_workers_of_the_previous_release_wait_for_a_registry_that_is_written_again(
    running: Installation, previous: Path, wait_for: Callable[..., object]
) -> None:
    """If its registry is gone, as an hour after an upgrade, messages wait until its operator writes it again."""
    for name in ("worker-1", "worker-2"):
        assert running.terminate(name) == 0
        _use(running, name, previous)
    registry = running.folder / "registry/worker"
    hidden = running.folder / "hidden"
    registry.rename(hidden)
    registry.mkdir()
    running.start("worker-1", "worker-2")
    running.greet(CONTACTS[:20])
    ledger = Ledger(running)
    for contact in CONTACTS[:20]:
        ledger.deliver([ledger.message(contact)], WEBHOOKS)
    wait_for(partial(_were_tried, running, ledger), what="a worker to look at each message")
    registry.rmdir()
    hidden.rename(registry)
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()


def _were_tried(running: Installation, ledger: Ledger) -> bool:
    """Returns whether a worker has put each acknowledged message off, because it does not know the number."""
    with running.engine.connect() as connection:
        tried = connection.execute(
            text("""
                SELECT count(*) FROM event
                WHERE event_key = ANY(:keys) AND state = 'waiting' AND next_attempt_at > received_at
            """),
            {"keys": ledger.acknowledged},
        ).scalar_one()
    return bool(tried == len(ledger.acknowledged))


@pytest.mark.parametrize("begins", ["previous", "this"])
def test_a_run_that_one_release_began_is_finished_by_the_other(
    running: Installation, previous: Path, begins: str
) -> None:
    """A pod of a schedule's run may continue what a pod of another release began. Each message is queued once."""
    content = {
        "uid": f"uid-{begins}",
        "namespace": "team",
        "name": "news",
        "number": "support",
        "numberId": NUMBER,
        "timeZone": "Europe/Rome",
        "action": {"message": {"text": "news", "audience": {"contacts": [f"+{each}" for each in CONTACTS[:5]]}}},
    }
    order = running.folder / "order.json"
    order.write_bytes(msgspec.json.encode(content))
    environment = running.environment | {
        "WAYPOST_SCHEDULE_JOB": "news-29730780",
        "WAYPOST_SCHEDULE_ORDER": str(order),
        "WAYPOST_SCHEDULE_REPORT": str(running.folder / "report.json"),
        "WAYPOST_SCHEDULE_WAIT_S": "0",
    }

    def perform(code: Path | None) -> int:
        own = environment if code is None else environment | {"PYTHONPATH": str(code)}
        command = [sys.executable, "-m", "waypost.cli", "schedule", "run"]
        return subprocess.run(command, env=own, check=False, timeout=120).returncode

    codes = [previous, None] if begins == "previous" else [None, previous]
    with running.engine.begin() as connection:
        connection.execute(text("DELETE FROM number"))
    assert perform(codes[0]) == 1, "no worker has recorded the number yet"
    with running.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO number (number_id, namespace, name, waba_id) VALUES (:id, 'team', 'support', '1')"),
            {"id": NUMBER},
        )
    assert perform(codes[1]) == 0
    assert perform(codes[0]) == 0
    with running.engine.connect() as connection:
        query = text("SELECT count(*) FROM outbox WHERE request_key LIKE :key")
        assert connection.execute(query, {"key": f"schedule:uid-{begins}:%"}).scalar_one() == 5
