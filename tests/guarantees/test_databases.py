"""No false 200 and no loss while PostgreSQL is away, read-only, or has no space left."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from waypost.dev.embedded import EmbeddedError, EmbeddedPostgres

from ..ledger import Ledger
from ..traffic import Traffic
from .installation import Installation

pytestmark = pytest.mark.timeout(900)

CONTACTS = [f"1555192{number:04}" for number in range(20)]
WEBHOOKS = ("webhook-1", "webhook-2")
DISK_MB = 160


@pytest.fixture(scope="module")
def small_disk(short_folder: Path) -> Iterator[Path]:
    """Yields the folder of a small file system of its own."""
    folder = short_folder / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.fault("S6")
@pytest.mark.slow
def test_a_database_that_is_away_and_then_read_only_loses_nothing(
    running: Installation, figure: Callable[..., None]
) -> None:
    """PostgreSQL is killed and stays away for some time under load. When it is back, it is read-only for some time.

    Each delivery gets 503 until it can be stored, and Meta repeats it.
    """
    running.greet(CONTACTS)
    running.quiesce()
    ledger = Ledger(running)
    with Traffic(ledger, CONTACTS, per_second=10, webhooks=WEBHOOKS) as traffic:
        traffic.wait_for_more(20)
        running.postgres.kill()
        acknowledged = traffic.acknowledged
        _wait_for_refusals(running, traffic, 40)
        in_flight = traffic.acknowledged - acknowledged
        running.postgres.start()
        traffic.wait_for_more(20)
        _set_read_only(running, is_read_only=True)
        _wait_for_refusals(running, traffic, 40)
        _set_read_only(running, is_read_only=False)
        traffic.wait_for_more(20)
    running.quiesce()
    assert in_flight <= len(CONTACTS)
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=running.unsettled())
    figure("deliveries answered with 503", traffic.count(503))


@pytest.mark.fault("S6")
@pytest.mark.slow
def test_a_full_disk_of_the_database_loses_nothing(
    small_disk: Path, apart: Callable[..., Installation], figure: Callable[..., None]
) -> None:
    """The disk of PostgreSQL has no space left, so that neither a table nor the log can grow. Later it has space again.

    Deliveries get 503 until PostgreSQL can store them. PostgreSQL may end itself, as it does where its log cannot
    grow, and is started again.
    """
    running = apart(postgres=EmbeddedPostgres(small_disk / "pg"))
    running.greet(CONTACTS)
    running.quiesce()
    ledger = Ledger(running)
    ballast = small_disk / "ballast"
    with Traffic(ledger, CONTACTS, per_second=10, webhooks=WEBHOOKS) as traffic:
        traffic.wait_for_more(20)
        _fill(ballast)
        running.wait(lambda: _is_refusing(running, traffic), what="refusals of a full disk")
        _wait_for_refusals(running, traffic, 40)
        ballast.unlink()
        running.wait(lambda: _is_started(running.postgres), what="PostgreSQL to run again")
        traffic.wait_for_more(40)
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=running.unsettled())
    figure("deliveries answered with 503", traffic.count(503))


def _wait_for_refusals(running: Installation, traffic: Traffic, count: int) -> None:
    goal = traffic.count(503) + count
    running.wait(lambda: traffic.count(503) >= goal, what=f"{count} deliveries to get 503")


def _set_read_only(running: Installation, *, is_read_only: bool) -> None:
    value = "on" if is_read_only else "off"
    running.engine.dispose()  # its connections may be from before the restart
    with running.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER SYSTEM SET default_transaction_read_only = {value}"))
        connection.execute(text("SELECT pg_reload_conf()"))


def _fill(ballast: Path) -> None:
    """Writes a file until the disk is full."""
    with ballast.open("wb", buffering=0) as file:
        block = b"\0" * 4096
        while True:
            try:
                file.write(block)
            except OSError:
                return


def _is_refusing(running: Installation, traffic: Traffic) -> bool:
    """Returns whether deliveries are refused. Makes the log grow, because a table may have room for a while."""
    try:
        with running.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SELECT pg_switch_wal()"))
            connection.execute(text("SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))"))
    except DBAPIError:
        pass
    return traffic.count(503) > 0


def _is_started(postgres: EmbeddedPostgres) -> bool:
    try:
        postgres.start()
    except EmbeddedError:
        time.sleep(0.2)
        return False
    return True
