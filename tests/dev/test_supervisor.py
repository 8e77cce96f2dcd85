"""Tests of the supervisor with fake processes and a clock that the test controls."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from waypost.dev.supervisor import Service, Supervisor, describe, last_log_line, restart_delay


class FakeChild:
    """A child that ends when the test sets its status."""

    def __init__(self, name: str, log: Path, journal: list[str]) -> None:
        self.name = name
        self.log = log
        self.launches = 0
        self.status: int | None = None
        self.ready = False
        self._journal = journal

    @property
    def pid(self) -> int | None:
        """Returns a number that grows with each launch, or None while the child does not run."""
        return None if self.status is not None or not self.launches else 1000 + self.launches

    def launch(self) -> None:
        """Starts the child and records the start."""
        self.launches += 1
        self.status = None
        self.ready = False
        self._journal.append(f"launch {self.name}")

    def poll(self) -> int | None:
        """Returns the status that the test has set."""
        return self.status

    def is_ready(self) -> bool:
        """Returns the readiness that the test has set."""
        return self.ready

    def stop(self, deadline_s: float = 0.0) -> None:
        """Ends the child and records the end."""
        self.status = 0
        self._journal.append(f"stop {self.name}")


class World:
    """A supervisor with a clock that the test controls, and with records of what the supervisor reports."""

    def __init__(self, tmp_path: Path) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self.became_ready: list[str] = []
        self.states: list[dict[str, int]] = []
        self.journal: list[str] = []
        self.log = tmp_path / "service.log"
        self.log.write_text("")
        self.supervisor = Supervisor(
            changed=lambda: self.states.append(self.supervisor.processes),
            became_ready=self.became_ready.append,
            say=self.said.append,
            clock=lambda: self.now,
        )

    def add(self, name: str) -> FakeChild:
        """Adds a running fake child."""
        child = FakeChild(name, self.log, self.journal)
        self.supervisor.add(child)
        return child


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Returns a supervisor without children."""
    return World(tmp_path)


def test_a_process_that_ends_is_started_again_at_once(world: World) -> None:
    """A process that ends once is restarted without a delay, because a single end is an accident."""
    child = world.add("webhook")
    child.status = -9
    world.supervisor.check()
    world.supervisor.check()

    assert child.launches == 2
    assert world.said == ["webhook ended (SIGKILL) and is started again"]


def test_the_state_is_written_at_every_start_and_end(world: World) -> None:
    """The state is written whenever a process starts or ends.

    `dev.json` must never name a process that has ended.
    """
    child = world.add("webhook")
    child.status = 1
    world.supervisor.check()
    world.supervisor.check()

    assert world.states == [{"webhook": 1001}, {}, {"webhook": 1002}]


def test_a_crash_loop_is_slowed_down_and_shown_with_its_last_log_line(world: World) -> None:
    """Restarts in a crash loop are delayed, and the report contains the last line of the process's log.

    The user must see the reason, and the log must not fill the disk.
    """
    world.log.write_text('noise\n{"event": "cannot start", "error": "the port is taken"}\n')
    child = world.add("webhook")
    for _ in range(3):
        child.status = 1
        world.supervisor.check()
        world.now += 1.0
        world.supervisor.check()

    assert child.launches == 4
    assert "keeps ending (exit status 1), 3 times in a row" in world.said[-1]
    assert "cannot start: the port is taken" in world.said[-1]


def test_a_process_is_not_restarted_before_its_delay_is_over(world: World) -> None:
    """A process is not restarted before its delay is over by the supervisor's clock."""
    child = world.add("webhook")
    for _ in range(4):
        child.status = 1
        world.supervisor.check()
        world.now += 0.1
        world.supervisor.check()

    assert child.launches == 3


def test_a_process_that_lived_long_starts_with_a_clean_record(world: World) -> None:
    """After a process has run for long, its earlier ends no longer count. Two ends a day are not a crash loop."""
    child = world.add("worker")
    for _ in range(10):
        world.now += 60.0
        child.status = -9
        world.supervisor.check()
        world.supervisor.check()

    assert child.launches == 11
    assert all("is started again" in line for line in world.said)


def test_becoming_ready_is_reported_once_per_start(world: World) -> None:
    """After each start of a process, the supervisor reports once that the process became ready.

    When the simulator was restarted, this report makes `waypost dev` give the simulator its world again.
    """
    child = world.add("simulator")
    child.ready = True
    world.supervisor.check()
    world.supervisor.check()
    child.status = -9
    world.supervisor.check()
    assert not world.supervisor.is_ready("simulator")
    world.supervisor.check()
    child.ready = True
    world.supervisor.check()

    assert world.became_ready == ["simulator", "simulator"]


def test_a_process_that_cannot_be_started_is_tried_again(world: World) -> None:
    """If a process cannot be started, the supervisor tries again. The cause may end, for example a full disk."""

    class Broken(FakeChild):
        def launch(self) -> None:
            if self.launches == 1:
                self.launches += 1
                raise OSError(28, "No space left on device")
            super().launch()

    child = Broken("redis", world.log, world.journal)
    world.supervisor.add(child)
    child.status = 1
    world.supervisor.check()
    world.supervisor.check()
    world.now += 5.0
    world.supervisor.check()

    assert child.pid is not None
    assert any("cannot be started" in line for line in world.said)


def test_processes_are_ended_group_after_group(world: World) -> None:
    """Processes that receive messages are ended first. Processes that store messages are ended last."""
    for name in ("postgres", "worker", "webhook"):
        world.add(name)
    world.journal.clear()
    world.supervisor.stop([["webhook"], ["worker"], ["postgres"]])

    assert world.journal == ["stop webhook", "stop worker", "stop postgres"]
    assert world.states[-1] == {}


@pytest.mark.parametrize(
    ("failures", "delay"), [(0, 0.0), (1, 0.0), (2, 0.2), (3, 0.4), (7, 6.4), (8, 10.0), (99, 10.0)]
)
def test_the_delay_doubles_up_to_ten_seconds(failures: int, delay: float) -> None:
    """The first restart has no delay. After that, the delay doubles with each restart, up to ten seconds."""
    assert restart_delay(failures) == pytest.approx(delay)


@pytest.mark.parametrize(
    ("status", "words"), [(0, "exit status 0"), (-15, "SIGTERM"), (-9, "SIGKILL"), (3, "exit status 3")]
)
def test_an_exit_status_is_described_in_words(status: int, words: str) -> None:
    """The description gives the name of a signal, because few people know what -9 means."""
    assert describe(status) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "none"),
        ("one\ntwo\n\n", "two"),
        ('{"event": "worker ended"}\n', "worker ended"),
        ('{"event": "failed", "exception": "ValueError"}\n', "failed: ValueError"),
        ("{not json\n", "{not json"),
    ],
)
def test_the_last_line_of_a_log_is_found(tmp_path: Path, text: str, words: str) -> None:
    """The last line of a log is returned. A JSON line is reduced to its event and error."""
    log = tmp_path / "x.log"
    log.write_text(text)

    assert last_log_line(log) == words


def test_a_service_that_ignores_sigterm_is_killed_at_the_deadline(
    tmp_path: Path, wait_for: Callable[..., object]
) -> None:
    """A process that ignores SIGTERM is killed at the deadline, because Ctrl-C must end every process."""
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    service = Service("deaf", [sys.executable, "-c", program], {}, tmp_path / "deaf.log")
    service.launch()
    wait_for(lambda: (tmp_path / "deaf.log").read_text() == "deaf\n")
    service.stop(deadline_s=0.1)
    service.close()

    assert service.poll() == -9
    assert service.pid is None


def test_a_service_gets_a_probe_port_of_its_own_at_each_start(tmp_path: Path, wait_for: Callable[..., object]) -> None:
    """Each start chooses a new probe port, because another process may have taken the old one."""
    log = tmp_path / "port.log"
    program = "import os; print(os.environ['WAYPOST_PROBE_PORT'], flush=True)"
    service = Service("port", [sys.executable, "-c", program], {}, log)
    service.launch()
    wait_for(lambda: service.poll() is not None)
    service.close()

    assert log.read_text().strip() == str(service.probe_port)
    assert service.metrics_url == f"http://127.0.0.1:{service.probe_port}/metrics"
