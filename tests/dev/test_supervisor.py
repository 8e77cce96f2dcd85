"""The supervisor: what it does when a process ends, told by a clock of the test's own."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from waypost.dev.supervisor import Service, Supervisor, describe, last_words, restart_delay


class FakeChild:
    """A process that ends when the test says so."""

    def __init__(self, name: str, log: Path, journal: list[str]) -> None:
        self.name = name
        self.log = log
        self.launches = 0
        self.status: int | None = None
        self.ready = False
        self._journal = journal

    @property
    def pid(self) -> int | None:
        """Grows with each launch."""
        return None if self.status is not None or not self.launches else 1000 + self.launches

    def launch(self) -> None:
        """Run."""
        self.launches += 1
        self.status = None
        self.ready = False
        self._journal.append(f"launch {self.name}")

    def poll(self) -> int | None:
        """As `Popen.poll`."""
        return self.status

    def is_ready(self) -> bool:
        """As the test says."""
        return self.ready

    def stop(self, deadline_s: float = 0.0) -> None:
        """End."""
        self.status = 0
        self._journal.append(f"stop {self.name}")


class World:
    """A supervisor with one clock, and what it told."""

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
        """A running fake."""
        child = FakeChild(name, self.log, self.journal)
        self.supervisor.add(child)
        return child


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh one."""
    return World(tmp_path)


def test_a_process_that_ends_is_started_again_at_once(world: World) -> None:
    """One end is an accident, and waiting would only cost time."""
    child = world.add("webhook")
    child.status = -9
    world.supervisor.look()
    world.supervisor.look()

    assert child.launches == 2
    assert world.said == ["webhook ended (SIGKILL) and is started again"]


def test_the_state_is_told_at_every_start_and_end(world: World) -> None:
    """dev.json must never name a process that is gone."""
    child = world.add("webhook")
    child.status = 1
    world.supervisor.look()
    world.supervisor.look()

    assert world.states == [{"webhook": 1001}, {}, {"webhook": 1002}]


def test_a_crash_loop_is_slowed_down_and_shown_with_its_last_words(world: World) -> None:
    """Whoever looks must see why, without a log that fills the disk meanwhile."""
    world.log.write_text('noise\n{"event": "cannot start", "error": "the port is taken"}\n')
    child = world.add("webhook")
    for _ in range(3):
        child.status = 1
        world.supervisor.look()
        world.now += 1.0
        world.supervisor.look()

    assert child.launches == 4
    assert "keeps ending (exit status 1), 3 times now" in world.said[-1]
    assert "cannot start: the port is taken" in world.said[-1]


def test_before_its_delay_is_over_a_process_is_not_started(world: World) -> None:
    """The delay is one of the supervisor's clock."""
    child = world.add("webhook")
    for _ in range(4):
        child.status = 1
        world.supervisor.look()
        world.now += 0.1
        world.supervisor.look()

    assert child.launches == 3


def test_a_process_that_lived_long_starts_with_a_clean_record(world: World) -> None:
    """Two accidents a day are no crash loop."""
    child = world.add("worker")
    for _ in range(10):
        world.now += 60.0
        child.status = -9
        world.supervisor.look()
        world.supervisor.look()

    assert child.launches == 11
    assert all("is started again" in line for line in world.said)


def test_becoming_ready_is_told_once_for_each_life(world: World) -> None:
    """A simulator that was started again must be told about the world again."""
    child = world.add("simulator")
    child.ready = True
    world.supervisor.look()
    world.supervisor.look()
    child.status = -9
    world.supervisor.look()
    assert not world.supervisor.is_ready("simulator")
    world.supervisor.look()
    child.ready = True
    world.supervisor.look()

    assert world.became_ready == ["simulator", "simulator"]


def test_a_process_that_cannot_even_be_started_is_tried_again(world: World) -> None:
    """A full disk passes."""

    class Broken(FakeChild):
        def launch(self) -> None:
            if self.launches == 1:
                self.launches += 1
                raise OSError(28, "No space left on device")
            super().launch()

    child = Broken("redis", world.log, world.journal)
    world.supervisor.add(child)
    child.status = 1
    world.supervisor.look()
    world.supervisor.look()
    world.now += 5.0
    world.supervisor.look()

    assert child.pid is not None
    assert any("cannot be started" in line for line in world.said)


def test_processes_are_ended_group_after_group(world: World) -> None:
    """What takes in ends first, what stores ends last."""
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
    """At once, then slower and slower."""
    assert restart_delay(failures) == pytest.approx(delay)


@pytest.mark.parametrize(
    ("status", "words"), [(0, "exit status 0"), (-15, "SIGTERM"), (-9, "SIGKILL"), (3, "exit status 3")]
)
def test_an_exit_status_is_said_as_people_say_it(status: int, words: str) -> None:
    """-9 means nothing to most."""
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
def test_the_last_words_are_what_the_log_ends_with(tmp_path: Path, text: str, words: str) -> None:
    """JSON lines are said in words."""
    log = tmp_path / "x.log"
    log.write_text(text)

    assert last_words(log) == words


def test_a_service_that_ignores_sigterm_is_killed_at_the_deadline(
    tmp_path: Path, wait_for: Callable[..., object]
) -> None:
    """Ctrl-C must end everything, also what hangs."""
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    service = Service("deaf", [sys.executable, "-c", program], {}, tmp_path / "deaf.log")
    service.launch()
    wait_for(lambda: (tmp_path / "deaf.log").read_text() == "deaf\n")
    service.stop(deadline_s=0.1)
    service.close()

    assert service.poll() == -9
    assert service.pid is None


def test_a_service_gets_a_probe_port_of_its_own_at_each_start(tmp_path: Path, wait_for: Callable[..., object]) -> None:
    """The old one may have been taken by somebody else meanwhile."""
    log = tmp_path / "port.log"
    program = "import os; print(os.environ['WAYPOST_PROBE_PORT'], flush=True)"
    service = Service("port", [sys.executable, "-c", program], {}, log)
    service.launch()
    wait_for(lambda: service.poll() is not None)
    service.close()

    assert log.read_text().strip() == str(service.probe_port)
    assert service.metrics_url == f"http://127.0.0.1:{service.probe_port}/metrics"
