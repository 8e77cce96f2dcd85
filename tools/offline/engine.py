"""Starts and stops our own Docker engine, from Debian's packages, if no other engine answers.

The engine keeps everything below `ENGINE`. When it stops, its images stay there for the next time, and its
changes to this machine's network are undone.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tools.machine import (
    BINARIES,
    ENGINE,
    SOCKET,
    StepFailed,
    environment,
    our_engine_answers,
    print_step,
    run,
    succeeds,
)
from tools.offline import firewall

PACKAGES = (
    *("docker.io", "containernetworking-plugins", "conntrack", "iptables", "ethtool", "socat", "ebtables"),
    *("mmdebstrap", "ca-certificates", "gcc", "libc6-dev"),
)
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
DATA, STATE, LOG = ENGINE / "data", ENGINE / "exec", ENGINE / "log"
FIREWALL = ENGINE / "firewall.json"
"""The firewall's state before our engine started."""


def ensure_running() -> None:
    """Starts an engine unless one answers already. Starting one needs root. Raises `StepFailed`."""
    if succeeds("docker", "info"):
        return
    install_packages()
    print_step("starting a Docker engine of our own")
    _remove_leftovers()
    ENGINE.mkdir(parents=True, exist_ok=True)
    firewall.save(FIREWALL)
    folders = ("--data-root", DATA, "--exec-root", STATE, "--pidfile", ENGINE / "docker.pid")
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", *folders, "--host", f"unix://{SOCKET}", "--default-runtime", "bounded",
             "--add-runtime", f"bounded={BINARIES / 'bounded-runtime'}"],
            env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_TIMEOUT_S
    while not succeeds("docker", "info"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise StepFailed(f"the Docker engine did not start; see {LOG}")
        time.sleep(0.5)


def install_packages() -> None:
    """Installs the Debian packages for the engine and the images if a command is missing. Raises `StepFailed`."""
    if all(shutil.which(command) for command in ("dockerd", "conntrack", "socat", "mmdebstrap", "gcc")):
        return
    if os.geteuid() != 0:
        raise StepFailed("no Docker engine answers, and only root can set one up; start Docker, or run this as root")
    if shutil.which("apt-get") is None:
        raise StepFailed("no Docker engine answers, and one can be set up on Debian only; start Docker")
    print_step("installing Debian's packages for engine and images")
    run("apt-get", "update", "-qq", DEBIAN_FRONTEND="noninteractive")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, DEBIAN_FRONTEND="noninteractive")


def stop() -> None:
    """Stops the engine if these tools started it, and undoes its changes to this machine. Raises `StepFailed`.

    The engine's images stay.
    """
    if not ENGINE.exists():
        return
    process = _find_process()
    if process is not None and not our_engine_answers():
        raise StepFailed(f"our Docker engine (process {process}) does not answer; see {LOG}, or stop it yourself")
    if process is not None:
        print_step("stopping our Docker engine")
        containers = run("docker", "container", "ls", "--all", "--quiet").split()
        if containers:
            run("docker", "container", "rm", "--force", "--volumes", *containers)
        for resource in ("volume", "network", "image"):
            run("docker", resource, "prune", "--force")
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while _find_process() is not None:
            if time.monotonic() > deadline:
                raise StepFailed(f"the Docker engine (process {process}) does not stop; see {LOG}")
            time.sleep(0.2)
    _remove_leftovers()
    if FIREWALL.exists():
        if succeeds("docker", "info"):
            # Another engine has started in between, and its chains cannot be distinguished from ours: leave them all.
            FIREWALL.unlink()
        else:
            firewall.restore(FIREWALL)
    LOG.unlink(missing_ok=True)


def is_ours() -> bool:
    """Returns whether an engine that these tools started is running."""
    return _find_process() is not None


def _find_process() -> int | None:
    """Returns our engine's process id, or None if it does not run.

    The process is found by its arguments, because a pid file may be from before the last reboot.
    """
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        arguments = _arguments(file)
        if Path(arguments[0]).name == "dockerd" and str(DATA) in arguments:
            return int(file.parent.name)
    return None


def _remove_leftovers() -> None:
    """Removes the processes, mounts and files that an earlier engine of ours left when it was killed.

    Does nothing while our engine runs.
    """
    if _find_process() is not None:
        return
    for file in list(Path("/proc").glob("[0-9]*/cmdline")):
        # These are containerd and one shim per container. A container's first process is a child of its shim, and
        # would outlive it.
        if any(str(STATE) in argument for argument in _arguments(file)):
            for pid in (file.parent.name, *_children(file.parent)):
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in reversed(mounted):
        if Path(path).is_relative_to(ENGINE):
            run("umount", "--lazy", path)
    shutil.rmtree(STATE, ignore_errors=True)
    SOCKET.unlink(missing_ok=True)
    # dockerd refuses to start while any process, even an unrelated one, has the id in this file.
    (ENGINE / "docker.pid").unlink(missing_ok=True)


def _children(process: Path) -> list[str]:
    try:
        return (process / "task" / process.name / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _arguments(cmdline: Path) -> list[str]:
    try:
        return cmdline.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]
