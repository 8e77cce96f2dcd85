"""Paths, settings and commands that all tools share: where the cache is, and how a step is printed and run.

The module imports only the standard library, because `make cluster` and `make down` run before the
environment exists.
"""

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
"""Data, log and process id of a Docker engine that these tools started."""
SOCKET = ENGINE / "docker.sock"
"""A socket of its own: our engine is never confused with another one on this machine."""

CLUSTER = os.environ.get("WAYPOST_CLUSTER", "waypost")
KUBECONFIG = CACHE / f"{CLUSTER}.kubeconfig"

STARTED_AT = time.monotonic()


class StepFailed(Exception):
    """Raised when a command failed or a step is impossible on this machine.

    The message contains the command's last output or the reason.
    """


def print_step(text: str) -> None:
    """Prints what happens next, with the seconds since the program started."""
    print(f"{time.monotonic() - STARTED_AT:7.1f} s  {text}", flush=True)


def environment() -> Mapping[str, str]:
    """Returns this process's environment, with our cluster selected and the built programs first on PATH.

    A program is built only if PATH has no version of it that is new enough. Our programs therefore never hide a
    good one.
    """
    engine = {"DOCKER_HOST": f"unix://{SOCKET}"} if our_engine_answers() else {}
    return {**os.environ, "PATH": f"{BINARIES}:{os.environ['PATH']}", "KUBECONFIG": str(KUBECONFIG), **engine}


def our_engine_answers() -> bool:
    """Returns whether the Docker engine that these tools started listens on its socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(SOCKET))
        except OSError:
            return False
    return True


def lock_cache() -> None:
    """Reserves the cache for this process until it ends. Waits while another process holds the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    # The descriptor stays open on purpose: the lock ends with the process, however that ends.
    lock = os.open(CACHE / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print_step("waiting for another `make` that uses the cache")
        fcntl.flock(lock, fcntl.LOCK_EX)


def run(*command: str | Path, folder: Path = REPOSITORY, stdin: str | None = None, **variables: str) -> str:
    """Runs a command and returns its output. `variables` are added to its environment. Raises `StepFailed`."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, input=stdin, capture_output=True, text=True, check=False,
        env={**environment(), **variables},
    )  # fmt: skip
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise StepFailed(f"`{' '.join(map(str, command[:5]))} …` ended with status {done.returncode}:\n{output}")
    return done.stdout.strip()


def succeeds(*command: str | Path) -> bool:
    """Runs a command. Returns whether the command exists and ends with status 0."""
    try:
        run(*command)
    except (StepFailed, FileNotFoundError):
        return False
    return True


def fail(reason: str) -> None:
    """Ends the program with status 1 and one clear message."""
    print(f"make: {reason}", file=sys.stderr)
    raise SystemExit(1)
