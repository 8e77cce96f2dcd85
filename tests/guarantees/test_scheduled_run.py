"""Tests of a schedule's run, from its order to Meta. The tests kill processes during the run.

Each contact gets the message once, and an opted-out contact never gets it.
"""

import json
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
from sqlalchemy import text

from .installation import NUMBER, Installation

WORDS = "news of this week"


def test_a_run_that_is_killed_and_repeated_reaches_each_contact_once(running: Installation, tmp_path: Path) -> None:
    """A run that is killed and repeated sends the message to each contact once.

    The last report counts the contacts who got the message, and the contacts whom the gate refused.
    """
    contacts = [f"1555600{number:04}" for number in range(40)]
    running.greet(contacts)
    running.quiesce()
    gone, audience = contacts[0], contacts[1:]
    running.http.post(
        f"{running.url('simulator')}/_sim/inbound", json={"number": NUMBER, "from": gone, "text": "STOP"}
    ).raise_for_status()
    running.wait(lambda: _opted_out(running, gone), what="the opt-out")
    order = {
        "uid": "5f0c7c1e-0d3c-4a57-9d0e-3d1f0c0d7a11",
        "namespace": "team",
        "name": "news",
        "number": "support",
        "numberId": NUMBER,
        "timeZone": "Europe/Rome",
        "action": {"message": {"text": WORDS, "audience": {"contacts": [f"+{contact}" for contact in contacts]}}},
    }
    (tmp_path / "order.json").write_bytes(msgspec.json.encode(order))
    environment = {
        **running.environment,
        "WAYPOST_SCHEDULE_ORDER": str(tmp_path / "order.json"),
        "WAYPOST_SCHEDULE_JOB": "team-news-0f1e2d3c-29730780",
        "WAYPOST_SCHEDULE_REPORT": str(tmp_path / "report"),
    }
    command = [sys.executable, "-m", "waypost.cli", "schedule", "run"]
    for _ in range(2):
        with subprocess.Popen(command, env=environment) as process:
            running.wait(partial(_ended_or_queued, process, running), what="a first row")
            process.kill()

    assert subprocess.run(command, env=environment, check=False, timeout=120).returncode == 0

    received = Counter(str(sent["to"]).lstrip("+") for sent in running.sent() if sent["text"] == WORDS)
    assert received == Counter(audience)
    report = json.loads((tmp_path / "report").read_bytes())
    counts = {name: report[name] for name in ("result", "recipients", "queued", "sent", "failed", "skipped", "message")}
    assert counts == {
        "result": "Succeeded",
        "recipients": 40,
        "queued": 0,
        "sent": 39,
        "failed": 0,
        "skipped": 1,
        "message": "1 OptedOut",
    }


def _opted_out(running: Installation, contact: str) -> bool:
    with running.engine.connect() as connection:
        query = text("SELECT opted_out_at IS NOT NULL FROM contact WHERE wa_id = :phone")
        return bool(connection.execute(query, {"phone": contact}).scalar_one_or_none())


def _ended_or_queued(process: subprocess.Popen[bytes], running: Installation) -> bool:
    return process.poll() is not None or _queued(running)


def _queued(running: Installation) -> bool:
    with running.engine.connect() as connection:
        query = text("SELECT count(*) FROM outbox WHERE request_key LIKE 'schedule:%'")
        return bool(connection.execute(query).scalar_one())
