"""What `make up` and `make down` share: where things are kept, and how a step is said and run."""

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("WAYPOST_CACHE", Path.home() / ".cache/waypost"))
BINARIES = CACHE / "bin"
ENGINE = CACHE / "engine"
"""Docker's data, log and process id, where the engine was started by us."""
SOCKET = ENGINE / "docker.sock"
"""Our engine's own, so that it is never mistaken for another one of this machine, nor another for it."""

CLUSTER = os.environ.get("WAYPOST_CLUSTER", "waypost")
KUBECONFIG = CACHE / f"{CLUSTER}.kubeconfig"

START = time.monotonic()


class StepFailed(Exception):
    """A command of a step failed; the message holds its last words."""


def step(what: str) -> None:
    """Say what comes next, with the seconds since the start."""
    print(f"{time.monotonic() - START:7.1f} s  {what}", flush=True)


def environment() -> Mapping[str, str]:
    """Ours, with our cluster chosen and our programs first on PATH: one is only built where none that fits is there."""
    engine = {"DOCKER_HOST": f"unix://{SOCKET}"} if our_engine_answers() else {}
    return {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}", "KUBECONFIG": str(KUBECONFIG), **engine}


def our_engine_answers() -> bool:
    """Whether an engine that was started here listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(SOCKET))
        except OSError:
            return False
    return True


def alone() -> None:
    """Until this program ends no other one changes what is kept in the cache; waits for one that does."""
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = os.open(CACHE / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        step("waiting for another `make` that is at work on clusters")
        fcntl.flock(lock, fcntl.LOCK_EX)


def run(*command: str | Path, folder: Path = REPOSITORY, stdin: str | None = None, **extra: str) -> str:
    """Run a command; its output. Raises `StepFailed`."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, input=stdin, capture_output=True, text=True, check=False,
        env={**environment(), **extra},
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise StepFailed(f"`{' '.join(map(str, command[:5]))} …` ended with status {done.returncode}:\n{said}")
    return done.stdout.strip()


def works(*command: str | Path) -> bool:
    """Whether a command can be run and succeeds."""
    try:
        run(*command)
    except (StepFailed, FileNotFoundError):
        return False
    return True


def fail(why: str) -> None:
    """End with one clear message."""
    print(f"make: {why}", file=sys.stderr)
    raise SystemExit(1)
