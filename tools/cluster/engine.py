"""A Docker engine: the one that runs, or one of our own from Debian's packages."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from machine import BINARIES, ENGINE, StepFailed, environment, run, step, works

PACKAGES = (
    *("docker.io", "containernetworking-plugins", "conntrack", "iptables", "ethtool", "socat", "ebtables"),
    *("mmdebstrap", "ca-certificates", "gcc", "libc6-dev"),
)
STARTS_WITHIN_S = 60


def ensure() -> None:
    """A running engine. Starts one, as root, where none answers."""
    if works("docker", "info"):
        return
    packages()
    step("starting a Docker engine of our own")
    bounded = BINARIES / "bounded-runtime"
    ENGINE.mkdir(parents=True, exist_ok=True)
    with (ENGINE / "log").open("ab") as log:
        folders = ("--data-root", ENGINE / "data", "--exec-root", ENGINE / "exec", "--pidfile", ENGINE / "docker.pid")
        process = subprocess.Popen(
            ["dockerd", *folders, "--add-runtime", f"bounded={bounded}", "--default-runtime", "bounded"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (ENGINE / "pid").write_text(str(process.pid))
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not works("docker", "info"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StepFailed(f"the Docker engine did not start; see {ENGINE / 'log'}")
        time.sleep(0.5)


def packages() -> None:
    """Debian's packages for engine and node image, where one of their commands is missing."""
    if all(shutil.which(command) for command in ("dockerd", "conntrack", "socat", "mmdebstrap", "gcc")):
        return
    if os.geteuid() != 0:
        raise StepFailed("no Docker engine answers, and only root can set one up; start Docker, or run this as root")
    step("installing Debian's packages for engine and images")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", **quiet)
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, **quiet)


def end() -> None:
    """End the engine if it is ours, and remove what it held."""
    try:
        pid = int((ENGINE / "pid").read_text())
        ours = Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    except (FileNotFoundError, ValueError):
        ours = False
    if ours:
        step("ending our Docker engine")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
    shutil.rmtree(ENGINE, ignore_errors=True)
