"""Tests the parts of a worker process. Each part survives what it must.

If a part that the process needs ends, the process ends too.
"""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url

from waypost.contracts import registry
from waypost.sending.sender import Sender
from waypost.worker.deadline import WATCHDOG_EXIT_STATUS
from waypost.worker.readiness import Readiness
from waypost.worker.registered import RegisteredNumbers
from waypost.worker.sender_thread import SenderThread

NUMBER = registry.Number(
    namespace="team", name="support", phone_number_id="100", waba_id="200", app_id="300", access_token="one"
)


class BrokenSender(Sender):
    """A sender with a defect that ends it as soon as it runs."""

    def __init__(self) -> None:
        """Creates a sender without any of its parts."""

    async def run(self) -> None:
        """Raises `RuntimeError`."""
        await asyncio.sleep(0)
        raise RuntimeError("a defect")


def test_a_sender_that_breaks_down_ends_its_worker() -> None:
    """A sender that breaks down ends its worker.

    Otherwise the worker would continue to drain lanes, and the messages would never be sent.
    """
    ended = threading.Event()
    thread = SenderThread(BrokenSender, ended=ended)
    thread.start()
    assert ended.wait(30)
    assert isinstance(thread.failure, RuntimeError)


def test_a_turn_that_cannot_be_interrupted_lets_calls_in_flight_end_before_the_process_does() -> None:
    """If a turn cannot be interrupted, calls in flight end before the process does.

    The calls send messages of other conversations. If they were cut off, each message would be unknown and never
    sent again.
    """
    script = """
        import time
        from waypost.worker.deadline import Deadline

        def sending_ends():
            print("calls have ended", flush=True)

        with Deadline(0.1, grace_s=0.1, before_exit=sending_ends)():
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == WATCHDOG_EXIT_STATUS
    assert "calls have ended" in ended.stdout


def test_a_registry_that_cannot_be_read_for_a_while_is_followed_again(database: Engine, tmp_path: Path) -> None:
    """A registry that cannot be read for a while is followed again afterwards.

    A new token must arrive without a restart, even if the mounted folder was away for a time.
    """
    folder, away = tmp_path / "worker", tmp_path / "away"
    folder.mkdir()
    file = folder / "team.support.json"
    file.write_bytes(msgspec.json.encode(NUMBER))
    numbers = RegisteredNumbers(registry.numbers(tmp_path), database)
    folder.rename(away)
    folder.write_text("not a folder")
    numbers.refresh()
    assert numbers.problem() == "the registry cannot be read: NotADirectoryError"
    assert numbers.number("100") == NUMBER
    folder.unlink()
    away.rename(folder)
    rotated = msgspec.structs.replace(NUMBER, access_token="two, and longer")
    file.write_bytes(msgspec.json.encode(rotated))
    numbers.refresh()
    assert numbers.problem() is None
    assert numbers.number("100") == rotated


@pytest.fixture
def scarce(database: Engine) -> Iterator[Engine]:
    """Yields an engine on `database` with a single connection."""
    engine = create_engine(database.url, pool_size=1, max_overflow=0, pool_timeout=60)
    yield engine
    engine.dispose()


def test_probes_take_one_connection_of_a_database_that_does_not_answer(
    scarce: Engine, wait_for: Callable[..., object]
) -> None:
    """If the database does not answer, all probes together use only one connection.

    Probes arrive faster than a hung database answers them, and the drains need connections too.
    """
    readiness = Readiness(scarce, [])
    answers: list[str | None] = []
    first = threading.Thread(target=lambda: answers.append(readiness.reason()))
    with scarce.connect():
        first.start()
        wait_for(lambda: readiness.reason() == "the database has not answered yet")
    first.join(60)
    assert answers == [None]


def test_a_worker_is_not_ready_before_the_migration(empty_database_url: str) -> None:
    """Before the migration a worker cannot work and is not ready. Its readiness names the command that helps."""
    engine = create_engine(make_url(empty_database_url).set(drivername="postgresql+psycopg"))

    assert "waypost migrate" in str(Readiness(engine, []).reason())
    engine.dispose()
