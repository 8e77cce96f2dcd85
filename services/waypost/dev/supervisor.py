"""One parent that keeps a set of processes running: starts, watches, restarts and, in the right order, ends them."""

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
"""A process that lived this long is no crash loop; its next end is answered at once again."""

LONGEST_DELAY_S = 10.0

LOOP_AFTER = 3
"""Ends in a row after which it is called a crash loop."""


class Child(Protocol):
    """A process that can be started, watched and ended."""

    @property
    def name(self) -> str:
        """What it is called in `dev.json` and in messages."""

    @property
    def pid(self) -> int | None:
        """None while it does not run."""

    @property
    def log(self) -> Path:
        """Where its output goes."""

    def launch(self) -> None:
        """Start it, without waiting until it is of use."""

    def poll(self) -> int | None:
        """Its exit status, None while it runs or was never started."""

    def is_ready(self) -> bool:
        """Whether it is of use now; bounded in time."""

    def stop(self, deadline_s: float = ...) -> None:
        """End it in good order, or kill it at the deadline."""


class Service:
    """One of Waypost's own services, run by this interpreter; `/readyz` on its probe port tells when it is of use."""

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
        """None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def metrics_url(self) -> str:
        """Where Prometheus would scrape it."""
        return f"http://127.0.0.1:{self.probe_port}/metrics"

    def launch(self) -> None:
        """Start it. The probe port is a new one each time, for the old one may have been taken meanwhile."""
        self.probe_port = free_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves, no shell
                self._arguments,
                env={**self._environment, "WAYPOST_PROBE_PORT": str(self.probe_port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor, who ends all in order
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - runs two system calls only
            )

    def poll(self) -> int | None:
        """Its exit status, None while it runs or was never started."""
        return None if self._process is None else self._process.poll()

    def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            return self._probe.get(f"http://127.0.0.1:{self.probe_port}/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def stop(self, deadline_s: float = 15.0) -> None:
        """SIGTERM, and SIGKILL when it has not ended by the deadline."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Give up the connections of the probe."""
        self._probe.close()


@dataclass
class _Watched:
    child: Child
    failures: int = 0
    launched_at: float = 0.0
    restart_at: float | None = None
    is_ready: bool = False


@dataclass
class Supervisor:
    """Keeps `children` running. All of its methods belong to one thread: the main one, see `end_with_parent`.

    `changed` is called after each start and end, `became_ready` when a process is of use (again), `say` with one line
    for the user.
    """

    changed: Callable[[], None]
    became_ready: Callable[[str], None]
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _watched: dict[str, _Watched] = field(default_factory=dict)

    @property
    def processes(self) -> dict[str, int]:
        """Name to pid of what runs now."""
        return {name: pid for name, watched in self._watched.items() if (pid := watched.child.pid) is not None}

    def is_ready(self, name: str) -> bool:
        """Whether the process was seen to be of use since its last start."""
        return name in self._watched and self._watched[name].is_ready

    def add(self, child: Child) -> None:
        """Start a process and keep it running from now on. Raises `EmbeddedError` when it cannot be started at all."""
        watched = self._watched[child.name] = _Watched(child)
        self._launch(watched)

    def look(self) -> None:
        """Look at every process once: note what became ready, start again what ended. Never waits for a process."""
        for watched in self._watched.values():
            if watched.restart_at is not None:
                if self.clock() >= watched.restart_at:
                    self._relaunch(watched)
            elif (status := watched.child.poll()) is not None:
                self._ended(watched, status)
            elif not watched.is_ready and watched.child.is_ready():
                watched.is_ready = True
                self.became_ready(watched.child.name)

    def stop(self, order: Sequence[Sequence[str]], deadline_s: float = 15.0) -> None:
        """End everything, group after group; those of a group are told at the same time."""
        named = {name for group in order for name in group}
        groups = [*order, [name for name in self._watched if name not in named]]
        for group in groups:
            members = [self._watched[name].child for name in group if name in self._watched]
            for child in members[1:]:
                _tell_to_end(child)
            deadline = time.monotonic() + deadline_s
            for child in members:
                child.stop(max(0.1, deadline - time.monotonic()))
        self._watched.clear()
        self.changed()

    def _launch(self, watched: _Watched) -> None:
        watched.is_ready = False
        watched.restart_at = None
        watched.launched_at = self.clock()
        watched.child.launch()
        self.changed()

    def _relaunch(self, watched: _Watched) -> None:
        try:
            self._launch(watched)
        except (EmbeddedError, OSError) as error:
            watched.failures += 1
            watched.restart_at = self.clock() + restart_delay(watched.failures)
            self.say(f"{watched.child.name} cannot be started: {error}")

    def _ended(self, watched: _Watched, status: int) -> None:
        lived = self.clock() - watched.launched_at
        watched.failures = 0 if lived >= SETTLED_AFTER_S else watched.failures + 1
        watched.is_ready = False
        delay = restart_delay(watched.failures)
        watched.restart_at = self.clock() + delay
        name = watched.child.name
        if watched.failures >= LOOP_AFTER:
            self.say(
                f"{name} keeps ending ({describe(status)}), {watched.failures} times now; next try in {delay:.1f} s. "
                f"Its last words: {last_words(watched.child.log)} (all of them: {watched.child.log})"
            )
        else:
            self.say(f"{name} ended ({describe(status)}) and is started again")
        self.changed()


def restart_delay(failures: int) -> float:
    """Seconds before the next start after so many ends in a row: at once, then 0.2 s doubling up to 10 s."""
    return 0.0 if failures <= 1 else min(LONGEST_DELAY_S, 0.1 * 2.0 ** min(failures - 1, 10))


def describe(status: int) -> str:
    """An exit status as a person says it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def last_words(log: Path) -> str:
    """The last line of a log; of a JSON line what happened and why."""
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


def _tell_to_end(child: Child) -> None:
    if (pid := child.pid) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
