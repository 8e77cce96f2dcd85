"""Tests of `waypost schedule run` as a process that may be killed at any point."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from .conftest import message_order, rows, runs

MINUTE = 29730780
JOB = f"team-a-weekly-news-0f1e2d3c-{MINUTE}"
RECONCILE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET_TEXT = "only for the reader"


@dataclass
class Command:
    """The command `waypost schedule run` with the environment of a Job's pod."""

    environment: dict[str, str]
    folder: Path

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Starts a process and writes its output into a file."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "waypost.cli", "schedule", "run"],
                env=self.environment | environment,
                stdout=log,
                stderr=log,
            )

    def run(self, **environment: str) -> int:
        """Runs the command to its end and returns the exit status."""
        return self.start(**environment).wait(60)

    @property
    def report(self) -> dict[str, Any]:
        """Returns the report as the operator would read it."""
        content: dict[str, Any] = json.loads((self.folder / "report").read_bytes())
        return content

    @property
    def output(self) -> str:
        """Returns everything that the processes printed."""
        return (self.folder / "log").read_text()


@pytest.fixture
def command(seen: Engine, database_url: str, tmp_path: Path) -> Command:
    """Returns the command with an environment like that of a Job's pod."""
    environment = {
        **os.environ,
        "WAYPOST_DATABASE_URL": database_url,
        "WAYPOST_SCHEDULE_ORDER": str(tmp_path / "order.json"),
        "WAYPOST_SCHEDULE_JOB": JOB,
        "WAYPOST_SCHEDULE_REPORT": str(tmp_path / "report"),
        "WAYPOST_SCHEDULE_WAIT_S": "0",
        "WAYPOST_TRACE_DIR": str(tmp_path / "traces"),
        "TRACEPARENT": RECONCILE,
    }
    return Command(environment, tmp_path)


def contacts(count: int) -> list[str]:
    """Returns `count` phone numbers."""
    return [f"+39333{position:07}" for position in range(1_000_000, 1_000_000 + count)]


def test_a_run_is_traced_as_a_root_that_links_to_its_reconcile(
    command: Command, seen: Engine, order_file: Callable[[dict[str, Any]], Path]
) -> None:
    """Each run has its own trace, which links to the reconcile. Otherwise all runs would share one endless trace.

    The queued rows contain the run's trace context.
    """
    order_file(message_order(contacts(3)))
    assert command.run() == 0

    lines = [line for path in (command.folder / "traces").glob("*") for line in path.read_text().splitlines()]
    span = next(each for each in map(json.loads, lines) if each["name"] == "schedule run")
    assert not span.get("parent_id")
    assert RECONCILE.split("-")[1:3] == [span["links"][0]["trace_id"], span["links"][0]["span_id"]]
    assert {row["traceparent"].split("-")[1] for row in rows(seen)} == {span["trace_id"]}


def test_no_output_contains_contacts_or_texts(command: Command, order_file: Callable[[dict[str, Any]], Path]) -> None:
    """Logs, report and trace contain no contact and no text. Only the order contains them."""
    audience = contacts(3)
    order_file(message_order([*audience, "+1000000"], template=None, text=SECRET_TEXT))
    assert command.run() == 0

    outputs = [command.output, str(command.report)]
    outputs += [path.read_text() for path in (command.folder / "traces").glob("*")]
    assert "run ended" in command.output
    for output in outputs:
        assert SECRET_TEXT not in output
        assert not any(contact[1:] in output for contact in audience)


@pytest.mark.parametrize(
    ("environment", "status", "words"),
    [
        ({"WAYPOST_SCHEDULE_JOB": "made-by-hand"}, 2, "--at"),
        ({"WAYPOST_DATABASE_URL": ""}, 2, "WAYPOST_DATABASE_URL"),
        ({"WAYPOST_SCHEDULE_ORDER": "/nowhere/order.json"}, 1, "/nowhere/order.json"),
        ({"WAYPOST_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, 1, "database cannot be used"),
    ],
)
def test_an_error_is_reported_in_one_line_and_by_the_exit_status(
    command: Command,
    order_file: Callable[[dict[str, Any]], Path],
    environment: dict[str, str],
    status: int,
    words: str,
) -> None:
    """An error is reported in one line and by the exit status.

    After exit status 1 a retry makes sense. After exit status 2 it does not.
    """
    order_file(message_order(contacts(1)))
    assert command.run(**environment) == status
    assert words in command.output
    assert "Traceback" not in command.output


def test_an_order_of_another_version_is_reported_as_invalid(
    command: Command, order_file: Callable[[dict[str, Any]], Path]
) -> None:
    """An order of another version is reported as invalid, so that the schedule's status shows it."""
    order_file({"action": {"retention": {}}})
    assert command.run() == 2
    assert command.report["result"] == "InvalidOrder"


def test_killed_at_any_point_a_run_leaves_one_message_per_contact(
    command: Command, seen: Engine, order_file: Callable[[dict[str, Any]], Path], wait_for: Callable[..., object]
) -> None:
    """Processes of one run are killed at random moments. Each contact still gets exactly one message.

    The last process runs to its end.
    """
    seed = time.time_ns()
    dice = random.Random(seed)
    audience = contacts(5000)
    order_file(message_order(audience, maxRecipients=5000))
    kills = 0
    for threshold in sorted(dice.sample(range(1, 4800), 6)):
        process = command.start()
        wait_for(lambda process=process, at=threshold: process.poll() is not None or queued(seen) >= at)
        process.kill()
        kills += process.wait() != 0

    assert command.run() == 0, f"seed {seed}"

    found = sorted(row["wa_id"] for row in rows(seen))
    assert found == sorted(digits(audience)), f"seed {seed}"
    assert kills, "at least one process was killed before its end"
    assert runs(seen)[0]["attempts"] >= 2
    counts = {name: command.report[name] for name in ("result", "recipients", "queued", "skipped")}
    assert counts == {"result": "Succeeded", "recipients": 5000, "queued": 5000, "skipped": 0}


def test_two_processes_of_one_tick_at_once_leave_one_message_per_contact(
    command: Command, seen: Engine, order_file: Callable[[dict[str, Any]], Path]
) -> None:
    """Two processes that run the same tick at once queue one message per contact.

    A Job may have two pods for a while if a node is lost.
    """
    audience = contacts(2000)
    order_file(message_order(audience, maxRecipients=2000))
    processes = [command.start() for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]

    assert sorted(row["wa_id"] for row in rows(seen)) == sorted(digits(audience))
    assert [(run["result"], run["recipients"], run["skipped"]) for run in runs(seen)] == [("Succeeded", 2000, {})]


def queued(engine: Engine) -> int:
    """Returns the number of rows in the outbox."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM outbox")).scalar_one())


def digits(audience: Sequence[str]) -> list[str]:
    """Returns the WhatsApp ids of the contacts."""
    return [contact.removeprefix("+") for contact in audience]
