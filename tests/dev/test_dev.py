"""Tests of `waypost dev` in the way in which a user runs it.

One command starts real processes. The tests kill some of them.
"""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from waypost.dev import demonstration
from waypost.store.connection import database

WaitFor = Callable[..., Any]


NUMBER = "106540352242922"
SERVICES = ("postgres", "redis", "simulator", "webhook", "operator", "worker-1", "worker-2", "console")


class Dev:
    """A `waypost dev` that runs in a separate process."""

    def __init__(self, folder: Path, files: list[Path], *arguments: str) -> None:
        self.data = folder / "data"
        self.output = folder / f"out-{uuid.uuid4().hex[:6]}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
        environment["PYTHONPATH"] = str(files[0].parent / "plugins")
        ports = [word for name in ("webhook", "console", "simulator") for word in (f"--port-{name}", "0")]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "waypost.cli", "dev", *files, "--data", self.data, *ports, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    @property
    def text(self) -> str:
        """Returns everything that `waypost dev` has printed."""
        return self.output.read_text()

    @property
    def state(self) -> dict[str, Any]:
        """Returns the content of `dev.json`."""
        found: dict[str, Any] = json.loads((self.data / "dev.json").read_text())
        return found

    def sent(self) -> list[dict[str, Any]]:
        """Returns the messages that the simulated Meta accepted."""
        try:
            answer = httpx.get(f"{self.state['simulator']}/_sim/sent", trust_env=False)
        except httpx.TransportError:
            return []  # the simulator is being started again
        found: list[dict[str, Any]] = answer.json()
        return found

    def write(self, sender: str, text: str) -> dict[str, Any]:
        """Makes a simulated user write to the number. Returns the simulator's answer."""
        try:
            answer = httpx.post(
                f"{self.state['simulator']}/_sim/inbound",
                json={"number": NUMBER, "from": sender, "text": text},
                trust_env=False,
                timeout=30,
            )
        except httpx.TransportError:
            return {"accepted": 0}  # the simulator is being started again
        found: dict[str, Any] = answer.json()
        return {"accepted": 0} | found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs another `waypost` command on the data folder of this `waypost dev`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
        return subprocess.run(
            [sys.executable, "-m", "waypost.cli", *arguments, "--data", self.data],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )

    def stop(self) -> int:
        """Sends Ctrl-C and returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


def is_running(pid: int) -> bool:
    """Returns whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def files(pytestconfig: pytest.Config, short_folder: Path) -> list[Path]:
    """Returns a copy of the examples that a test may edit."""
    folder = short_folder / "examples"
    shutil.copytree(pytestconfig.rootpath / "examples", folder, dirs_exist_ok=True)
    return sorted(folder.glob("*.yaml"))


@pytest.fixture(scope="module")
def dev(files: list[Path], short_folder: Path, wait_for: WaitFor) -> Iterator[Dev]:
    """Yields a `waypost dev` that runs during all tests of this module."""
    with demonstrating(files, short_folder, wait_for) as running:
        yield running


@contextmanager
def demonstrating(files: list[Path], short_folder: Path, wait_for: WaitFor) -> Iterator[Dev]:
    """Yields a `waypost dev` that runs in its own folder and has shown its demonstration.

    At the end of the block, the `waypost dev` is stopped.
    """
    folder = short_folder / f"d{uuid.uuid4().hex[:6]}"
    folder.mkdir()
    running = Dev(folder, files)
    try:
        wait_for_demonstration(running, wait_for)
        yield running
    finally:
        running.stop()


def wait_for_demonstration(dev: Dev, wait_for: WaitFor) -> None:
    """Waits until the demonstration was shown.

    If the demonstration fails or the process ends, the test fails at once and shows all output.
    """

    def is_over() -> bool:
        words = ("Ctrl-C ends everything", "The demonstration failed")
        return dev.process.poll() is not None or any(each in dev.text for each in words)

    wait_for(is_over, what="the demonstration or its failure")
    assert "Ctrl-C ends everything" in dev.text, dev.text


def assert_answered(dev: Dev, sender: str, wait_for: WaitFor) -> None:
    """Checks that a message of this user is answered.

    The function sends the message again until the webhook accepts it. Meta does the same.
    """
    wait_for(lambda: dev.write(sender, "hello")["accepted"], what="an acknowledgement")
    wait_for(lambda: any(sent["to"] == f"+{sender}" for sent in dev.sent()), what="the reply")


def test_the_demonstration_shows_the_conversation_the_times_and_the_trace(dev: Dev) -> None:
    """The demonstration shows the conversation, the times and the trace, as the README promises.

    Here, the output is a plain file.
    """
    for expected in (
        "user  Hello",
        "I am the support bot",
        "[Opening hours]",
        "ms later",
        "POST /webhooks/{namespace}/{name}",
        "process message",
        "/messages",
        dev.state["console"],
    ):
        assert expected in dev.text
    assert "\x1b" not in dev.text


def test_dev_json_names_every_address_and_process(dev: Dev, wait_for: WaitFor) -> None:
    """`dev.json` names every address and every process, and the processes run.

    Other programs find everything through this file.
    """
    wait_for(lambda: set(dev.state["processes"]) == set(SERVICES), what="all processes")
    state = dev.state

    assert all(is_running(pid) for pid in state["processes"].values())
    engine = database.connect(state["database"], application="test")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) > 0 FROM event").scalar_one()
    engine.dispose()
    assert set(state["metrics"]) == set(SERVICES) - {"postgres", "redis"}
    for name in state["metrics"]:
        wait_for(lambda name=name: responds(dev.state["metrics"][name]), what=f"{name} shows its metrics")


def responds(url: str) -> bool:
    """Returns whether a GET gives 200. A process that is starting does not answer yet."""
    try:
        return httpx.get(url, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _or_none(read: Callable[[], int]) -> int | None:
    """Returns the result of `read`, or None while the database is restarting."""
    try:
        return read()
    except OperationalError:
        return None


@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_process_is_started_again_and_messages_are_assert_answered(
    dev: Dev, name: str, wait_for: WaitFor
) -> None:
    """After SIGKILL to any process, `dev.json` names the new process, and the next message gets its reply."""
    before = dev.state["processes"][name]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: dev.state["processes"].get(name, before) != before, what=f"{name} has another pid")

    assert is_running(dev.state["processes"][name])
    wait_for(lambda: f"{name} ended (SIGKILL)" in dev.text, what="a line about its end")
    assert_answered(dev, f"4477009{SERVICES.index(name):05d}", wait_for)


def test_acknowledged_messages_are_handled_although_every_process_is_killed(dev: Dev, wait_for: WaitFor) -> None:
    """Acknowledged messages are handled although every process is killed.

    All processes get SIGKILL right after 20 acknowledgements. Each of these messages is in the database.
    """
    acknowledged = [dev.write(f"4477009100{number:02d}", "hello") for number in range(20)]
    wamids = [answer["wamid"] for answer in acknowledged if answer["accepted"]]
    assert wamids
    pids = dict(dev.state["processes"])
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: all(dev.state["processes"].get(name, pid) != pid for name, pid in pids.items()),
        what="new processes",
    )
    engine = database.connect(dev.state["database"], application="test")

    def done() -> int:
        with engine.connect() as connection:
            return int(
                connection.execute(
                    text("SELECT count(*) FROM event WHERE state = 'done' AND event_key = ANY(:wamids)"),
                    {"wamids": wamids},
                ).scalar_one()
            )

    try:
        wait_for(lambda: _or_none(done) == len(wamids), what="every acknowledged message is done")
    finally:
        engine.dispose()


def test_an_edited_file_is_published_while_everything_runs(dev: Dev, files: list[Path], wait_for: WaitFor) -> None:
    """An edited file is published while everything runs.

    The bot answers the next message with the new text, without a restart.
    """
    bot = next(file for file in files if "I am the support bot" in file.read_text())
    bot.write_text(bot.read_text().replace("I am the support bot", "I am the edited bot"))
    wait_for(lambda: "the files changed and were published" in dev.text)

    def says_it() -> bool:
        dev.write("447700920000", "hello")
        return any("I am the edited bot" in sent["text"] for sent in dev.sent())

    wait_for(says_it, what="the new text")


def test_a_mistake_in_an_edited_file_is_reported_and_changes_nothing(
    dev: Dev, files: list[Path], wait_for: WaitFor
) -> None:
    """A mistake in an edited file is reported and changes nothing. The last good content stays in use."""
    good = files[0].read_text()
    files[0].write_text(good + "\n---\nkind: Nonsense\n")
    try:
        wait_for(lambda: "kind Nonsense is not supported here" in dev.text)
        assert_answered(dev, "447700930000", wait_for)
    finally:
        files[0].write_text(good)


def test_a_bot_in_python_answers_without_being_listed(dev: Dev, files: list[Path], wait_for: WaitFor) -> None:
    """A bot in Python answers without being listed.

    In a cluster, the platform lists the bots that may run. In `waypost dev`, the author of a bot may run any code
    anyway.
    """
    number = next(file for file in files if file.name == "number.yaml")
    good = number.read_text()
    number.write_text(good.replace("configMapRef:\n      name: support-bot", "plugin: callback_bot:turn"))

    # Each try has its own contact, because Meta's limit per contact would delay replies of the tests that follow.
    contacts = itertools.count(447700940000)

    def asks_when_to_call() -> bool:
        dev.write(str(next(contacts)), "hello")
        return any("When may we call you?" in sent["text"] for sent in dev.sent())

    try:
        wait_for(asks_when_to_call, what="the bot in Python")
    finally:
        number.write_text(good)


def test_doctor_finds_nothing_wrong_with_it(dev: Dev, wait_for: WaitFor) -> None:
    """`waypost doctor` finds everything through `dev.json`, and all its checks pass."""
    wait_for(lambda: dev.command("doctor").returncode == 0, what="doctor to find nothing wrong")
    findings = json.loads(dev.command("doctor", "--json").stdout)

    assert {finding["state"] for finding in findings} == {"ok"}
    assert {"database", "schema", "durability", "redis", "registry", "graph", "token of team-a/support"} <= {
        finding["check"] for finding in findings
    }


def test_send_goes_out_once_for_each_key(dev: Dev, wait_for: WaitFor) -> None:
    """Two `waypost send` commands with the same key send one message.

    A script that is run again uses the same key.
    """
    assert_answered(dev, "447700940000", wait_for)
    request = ("send", "team-a/support", "--to", "+447700940000", "--text", "by hand", "--key", "k1", "--json")
    first = json.loads(dev.command(*request).stdout)
    second = json.loads(dev.command(*request).stdout)

    assert (first["state"], first["new"], second["new"]) == ("sent", True, False)
    assert first["id"] == second["id"]
    assert [sent["text"] for sent in dev.sent() if sent["to"] == "+447700940000"].count("by hand") == 1


def test_send_to_a_contact_that_never_wrote_uses_the_template(dev: Dev) -> None:
    """A send to a contact that never wrote uses the template.

    Outside the window, only a template may be sent. The number declares a template for this case.
    """
    request = ("send", "team-a/support", "--to", "+447700950000", "--text", "hello", "--json", "--wait", "60")
    answer = dev.command(*request)

    assert json.loads(answer.stdout)["state"] == "sent"
    assert [sent["type"] for sent in dev.sent() if sent["to"] == "+447700950000"] == ["template"]


def test_the_messages_can_be_exported(dev: Dev) -> None:
    """The messages can be exported. The export has a header and both directions."""
    lines = dev.command("export", "team-a/support").stdout.splitlines()

    assert lines[0].startswith("occurred_at,direction,")
    assert {line.split(",")[1] for line in lines[1:] if line[:2] == "20"} >= {"in", "out"}


def test_a_second_one_in_the_same_folder_is_refused(dev: Dev, files: list[Path]) -> None:
    """A second `waypost dev` in the same folder is refused. Two databases on the same files would destroy both."""
    answer = dev.command("dev", *map(str, files))

    assert answer.returncode == 1
    assert "another waypost dev uses" in answer.stderr


def test_a_taken_port_is_named_with_the_flag_that_changes_it(files: list[Path], tmp_path: Path) -> None:
    """The error for a taken port names the port and the flag that changes it.

    The command ends before it starts anything.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = subprocess.run(
            [sys.executable, "-m", "waypost.cli", "dev", *files, "--data", tmp_path, "--port-console", str(port)],
            check=False,
            capture_output=True,
            text=True,
        )

    assert answer.returncode == 1
    assert f"port {port}" in answer.stderr
    assert "--port-console" in answer.stderr


def test_after_the_supervisor_was_killed_nothing_runs_and_the_next_start_works(
    files: list[Path], short_folder: Path, wait_for: WaitFor
) -> None:
    """After SIGKILL of the supervisor, its children end, and the next start works with the same folder."""
    folder = short_folder / f"s{uuid.uuid4().hex[:6]}"
    folder.mkdir()
    first = Dev(folder, files, "--workers", "1")
    wait_for_demonstration(first, wait_for)
    pids = list(first.state["processes"].values())
    first.process.kill()
    first.process.wait()
    wait_for(lambda: not any(map(is_running, pids)), what="all children end")

    second = Dev(folder, files, "--once")
    assert second.process.wait(120) == 0, second.text
    assert not (second.data / "dev.json").exists()


def test_the_demonstration_fails_with_a_reason_when_nothing_would_answer(files: list[Path], tmp_path: Path) -> None:
    """If no number has a bot, the command ends with status 1 and one line, before it starts anything."""
    number = tmp_path / "number.yaml"
    source = next(file for file in files if "WhatsAppNumber" in file.read_text()).read_text()
    number.write_text(re.sub(r"  bot:\n.*?(?=  limits:)", "", source, flags=re.DOTALL))
    without_bot = Dev(tmp_path, [number], "--once")

    assert without_bot.process.wait(120) == 1
    assert "no number has a bot" in without_bot.text
    assert not without_bot.data.exists()


def test_the_demonstration_fails_with_a_reason_when_no_reply_comes(dev: Dev, tmp_path: Path, wait_for: WaitFor) -> None:
    """If no reply comes, the demonstration fails with a reason.

    Here, Meta refuses every send. The error says that the message was acknowledged.
    """
    fault = {"match": "POST .*/messages", "code": 131026, "times": 1}
    wait_for(lambda: responds(f"{dev.state['simulator']}/_sim/sent"))
    httpx.post(f"{dev.state['simulator']}/_sim/faults", json=fault, trust_env=False).raise_for_status()

    with pytest.raises(demonstration.NoReply, match="acknowledged, but no reply came"):
        demonstration.exchange(dev.state["simulator"], NUMBER, tmp_path, reply_within_s=3.0)
