"""Keeps a set of child processes running.

The supervisor starts, checks and restarts them, and ends them in a given order.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from waypost.dev.embedded import EmbeddedError, end_with_parent
from waypost.dev.ports import free_port

SETTLED_AFTER_S = 10.0
"""Seconds. If a process lived longer, its end does not count towards a crash loop."""

LONGEST_DELAY_S = 10.0
"""Upper bound in seconds of the delay before a restart."""

CRASH_LOOP_AFTER = 3
"""Consecutive ends of a process that count as a crash loop."""


class Child(Protocol):
    """A process that can be started, checked and ended."""

    @property
    def name(self) -> str:
        """Returns the child's name in `dev.json` and in messages."""

    @property
    def pid(self) -> int | None:
        """Returns the child's process id, or None while the child does not run."""

    @property
    def log(self) -> Path:
        """Returns the file that gets the child's output."""

    def launch(self) -> None:
        """Starts the child without waiting until it is ready."""

    def poll(self) -> int | None:
        """Returns the child's exit status, or None if the child still runs or was never started."""

    def is_ready(self) -> bool:
        """Returns whether the child is ready now. The method must not block for long."""

    def stop(self, deadline_s: float = ...) -> None:
        """Ends the child gracefully. Kills it if it has not ended at the deadline."""


class Service:
    """One of Waypost's services, run by this interpreter.

    The service is ready when `/readyz` on its probe port answers 200.
    """

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.probe_port = 0
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._probe = httpx.Client(trust_env=False, timeout=1.0)

    @property
    def pid(self) -> int | None:
        """Returns the service's process id, or None while the service does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def metrics_url(self) -> str:
        """Returns the address of the service's metrics, which Prometheus would scrape."""
        return f"http://127.0.0.1:{self.probe_port}/metrics"

    def launch(self) -> None:
        """Starts the service with a new probe port, because another process may have taken the old one."""
        self.probe_port = free_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves, no shell
                self._arguments,
                env={**self._environment, "WAYPOST_PROBE_PORT": str(self.probe_port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends all in order
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - runs two system calls only
            )

    def poll(self) -> int | None:
        """Returns the exit status of the process, or None if the process still runs or was never started."""
        return None if self._process is None else self._process.poll()

    def is_ready(self) -> bool:
        """Returns whether the service answers `/readyz` with status 200."""
        try:
            return self._probe.get(f"http://127.0.0.1:{self.probe_port}/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def stop(self, deadline_s: float = 15.0) -> None:
        """Sends SIGTERM to the process. If the process still runs at the deadline, it gets SIGKILL."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Closes the connections of the probe."""
        self._probe.close()


@dataclass
class _Supervised:
    """A child process, with its restarts and its readiness."""

    child: Child
    failures: int = 0
    launched_at: float = 0.0
    restart_at: float | None = None
    is_ready: bool = False


@dataclass
class Supervisor:
    """Keeps its children running. Call its methods only on the main thread (see `end_with_parent`).

    `changed` is called after each start and each end of a process. `became_ready` is called each time that a
    started process becomes ready. `say` is called with one line of text for the user.
    """

    changed: Callable[[], None]
    became_ready: Callable[[str], None]
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _supervised: dict[str, _Supervised] = field(default_factory=dict)

    @property
    def processes(self) -> dict[str, int]:
        """Process ids of the running children, by name."""
        return {name: pid for name, supervised in self._supervised.items() if (pid := supervised.child.pid) is not None}

    def is_ready(self, name: str) -> bool:
        """Returns whether the process has become ready since its last start."""
        return name in self._supervised and self._supervised[name].is_ready

    def add(self, child: Child) -> None:
        """Starts a process and keeps it running from now on. Raises `EmbeddedError` if it cannot be started."""
        supervised = self._supervised[child.name] = _Supervised(child)
        self._launch(supervised)

    def check(self) -> None:
        """Checks every process once, without waiting for any of them.

        A process that ended is restarted. A process that became ready is recorded as ready.
        """
        for supervised in self._supervised.values():
            if supervised.restart_at is not None:
                if self.clock() >= supervised.restart_at:
                    self._relaunch(supervised)
            elif (status := supervised.child.poll()) is not None:
                self._ended(supervised, status)
            elif not supervised.is_ready and supervised.child.is_ready():
                supervised.is_ready = True
                self.became_ready(supervised.child.name)

    def stop(self, order: Sequence[Sequence[str]], deadline_s: float = 15.0) -> None:
        """Ends all processes, one group after another. The processes of one group end at the same time."""
        named = {name for group in order for name in group}
        groups = [*order, [name for name in self._supervised if name not in named]]
        for group in groups:
            members = [self._supervised[name].child for name in group if name in self._supervised]
            for child in members[1:]:
                _terminate(child)
            deadline = time.monotonic() + deadline_s
            for child in members:
                child.stop(max(0.1, deadline - time.monotonic()))
        self._supervised.clear()
        self.changed()

    def _launch(self, supervised: _Supervised) -> None:
        supervised.is_ready = False
        supervised.restart_at = None
        supervised.launched_at = self.clock()
        supervised.child.launch()
        self.changed()

    def _relaunch(self, supervised: _Supervised) -> None:
        try:
            self._launch(supervised)
        except (EmbeddedError, OSError) as error:
            supervised.failures += 1
            supervised.restart_at = self.clock() + restart_delay(supervised.failures)
            self.say(f"{supervised.child.name} cannot be started: {error}")

    def _ended(self, supervised: _Supervised, status: int) -> None:
        lived = self.clock() - supervised.launched_at
        supervised.failures = 0 if lived >= SETTLED_AFTER_S else supervised.failures + 1
        supervised.is_ready = False
        delay = restart_delay(supervised.failures)
        supervised.restart_at = self.clock() + delay
        name = supervised.child.name
        if supervised.failures >= CRASH_LOOP_AFTER:
            self.say(
                f"{name} keeps ending ({describe(status)}), {supervised.failures} times in a row; "
                f"next start in {delay:.1f} s. "
                f"Last line of its log: {last_log_line(supervised.child.log)} (see {supervised.child.log})"
            )
        else:
            self.say(f"{name} ended ({describe(status)}) and is started again")
        self.changed()


def restart_delay(failures: int) -> float:
    """Returns the delay in seconds before the next start of a process that ended `failures` times in a row.

    The first restart has no delay. The second waits 0.2 s, and each further delay is twice as long, up to 10 s.
    """
    return 0.0 if failures <= 1 else min(LONGEST_DELAY_S, 0.1 * 2.0 ** min(failures - 1, 10))


def describe(status: int) -> str:
    """Returns an exit status in words, with the signal's name if a signal ended the process."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def last_log_line(log: Path) -> str:
    """Returns the last line of a log. If the line is JSON, returns only its event, error and exception."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "none"
    if not lines:
        return "none"
    with contextlib.suppress(ValueError):
        if isinstance(line := json.loads(lines[-1]), dict):
            parts = [line.get("event"), line.get("error"), line.get("exception")]
            return ": ".join(str(part) for part in parts if part)[:400] or "none"
    return lines[-1][:400]


def _terminate(child: Child) -> None:
    if (pid := child.pid) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
