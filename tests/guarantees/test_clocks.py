"""Nothing depends on the wall clock of one process: leases, claims, windows and schedules hold if it is wrong."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from waypost.dev.embedded import EmbeddedPostgres

from ..ledger import Ledger
from ..traffic import Traffic
from .installation import NUMBER, Installation
from .native_libraries import Clock

pytestmark = pytest.mark.timeout(900)

CONTACTS = [f"1555196{number:04}" for number in range(40)]
WEBHOOKS = ("webhook-1", "webhook-2")
SKEW_S = 600.0


class PostgresWithClock(EmbeddedPostgres):
    """A PostgreSQL with a wall clock of its own."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder)
        self._clock = clock

    def _command(self) -> list[str]:
        return ["env", *(f"{name}={value}" for name, value in self._clock.environment.items()), *super()._command()]


class Clocks(NamedTuple):
    """An installation in which each process has a clock of its own, and PostgreSQL too."""

    running: Installation
    of: dict[str, Clock]
    database: Clock


@pytest.fixture(scope="module")
def shared_clocks(apart: Callable[..., Installation], short_folder: Path) -> Clocks:
    """Returns an installation with clocks that a test can move."""
    folder = short_folder / "clocks"
    of = {name: Clock(folder) for name in (*WEBHOOKS, "worker-1", "worker-2")}
    database = Clock(folder)

    def prepare(installation: Installation) -> None:
        for name, clock in of.items():
            installation.environments[name] = clock.environment

    running = apart(postgres=PostgresWithClock(short_folder / "cp", database), prepare=prepare)
    running.greet(CONTACTS)
    return Clocks(running, of, database)


@pytest.fixture
def clocks(shared_clocks: Clocks) -> Clocks:
    """Returns the installation with right clocks and without waiting work."""
    for clock in (*shared_clocks.of.values(), shared_clocks.database):
        clock.shift(0)
    shared_clocks.running.quiesce()
    return shared_clocks


@pytest.mark.fault("P6")
@pytest.mark.slow
def test_wrong_and_jumping_clocks_of_processes_change_nothing(clocks: Clocks, figure: Callable[..., None]) -> None:
    """A webhook and a worker are ten minutes ahead, the others ten minutes behind, and then all clocks jump.

    Every message is answered once and in order, as if the clocks were right.
    """
    running, chance = clocks.running, random.Random(6)
    ledger = Ledger(running)
    with Traffic(ledger, CONTACTS, per_second=20, webhooks=WEBHOOKS) as traffic:
        for name, clock in clocks.of.items():
            clock.shift(SKEW_S if name.endswith("1") else -SKEW_S)
        traffic.wait_for_more(80)
        for _ in range(10):
            for clock in clocks.of.values():
                clock.shift(chance.uniform(-SKEW_S, SKEW_S))
            traffic.wait_for_more(10)
    assert traffic.refused() == {}
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    figure("clocks wrong by up to", SKEW_S, "s")


@pytest.mark.fault("P6")
@pytest.mark.slow
@pytest.mark.parametrize("jump_s", [SKEW_S, -SKEW_S], ids=["ahead", "back"])
def test_a_jump_of_the_databases_clock_loses_nothing(clocks: Clocks, jump_s: float) -> None:
    """The clock of PostgreSQL jumps by ten minutes under load. Messages are answered at once all the same.

    A jump ahead ends leases and claims that are in use. A jump back makes what was due before the jump due later.
    """
    running = clocks.running
    ledger = Ledger(running)
    with Traffic(ledger, CONTACTS, per_second=20, webhooks=WEBHOOKS) as traffic:
        traffic.wait_for_more(40)
        clocks.database.shift(jump_s)
        traffic.wait_for_more(60)
    assert traffic.refused() == {}
    running.quiesce()
    unsettled = running.unsettled() & set(ledger.acknowledged)
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=unsettled)


@pytest.mark.fault("P6")
@pytest.mark.slow
def test_a_planned_minute_is_done_once_whatever_the_clock_of_its_run_says(
    running: Installation, tmp_path: Path
) -> None:
    """Runs of one planned minute start on machines with different clocks. Each contact gets the message once."""
    contacts = [f"1555197{number:04}" for number in range(5)]
    running.greet(contacts)
    running.quiesce()
    words = "news by any clock"
    order = {
        "uid": "5f0c7c1e-0d3c-4a57-9d0e-3d1f0c0d7a12",
        "namespace": "team",
        "name": "clocks",
        "number": "support",
        "numberId": NUMBER,
        "timeZone": "Europe/Rome",
        "action": {"message": {"text": words, "audience": {"contacts": [f"+{contact}" for contact in contacts]}}},
    }
    (tmp_path / "order.json").write_bytes(msgspec.json.encode(order))
    clock = Clock(tmp_path / "clock")
    environment = {
        **running.environment,
        **clock.environment,
        "WAYPOST_SCHEDULE_ORDER": str(tmp_path / "order.json"),
        "WAYPOST_SCHEDULE_JOB": "team-clocks-0f1e2d3c-29730780",
        "WAYPOST_SCHEDULE_REPORT": str(tmp_path / "report"),
    }
    for skew_s in (0, SKEW_S, -SKEW_S):
        clock.shift(skew_s)
        command = [sys.executable, "-m", "waypost.cli", "schedule", "run"]
        assert subprocess.run(command, env=environment, check=False, timeout=120).returncode == 0
        assert json.loads((tmp_path / "report").read_bytes())["sent"] == len(contacts)

    received = Counter(str(sent["to"]).lstrip("+") for sent in running.sent() if sent["text"] == words)
    assert received == Counter(contacts)
