"""A Docker engine: the one that runs, or one of our own from Debian's packages.

Ours keeps everything below `ENGINE`. Its images stay there for the next time; what it did to the network of this
machine is undone when it ends.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tools.machine import BINARIES, ENGINE, SOCKET, StepFailed, environment, our_engine_answers, run, step, works
from tools.offline import firewall

PACKAGES = (
    *("docker.io", "containernetworking-plugins", "conntrack", "iptables", "ethtool", "socat", "ebtables"),
    *("mmdebstrap", "ca-certificates", "gcc", "libc6-dev"),
)
STARTS_WITHIN_S = 60
ENDS_WITHIN_S = 60
DATA, STATE, LOG = ENGINE / "data", ENGINE / "exec", ENGINE / "log"
FIREWALL = ENGINE / "firewall.json"
"""As it was before our engine started."""


def ensure() -> None:
    """A running engine. Starts one, as root, where none answers. Raises `StepFailed`."""
    if works("docker", "info"):
        return
    packages()
    step("starting a Docker engine of our own")
    _clear()
    ENGINE.mkdir(parents=True, exist_ok=True)
    firewall.save(FIREWALL)
    folders = ("--data-root", DATA, "--exec-root", STATE, "--pidfile", ENGINE / "docker.pid")
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", *folders, "--host", f"unix://{SOCKET}", "--default-runtime", "bounded",
             "--add-runtime", f"bounded={BINARIES / 'bounded-runtime'}"],
            env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not works("docker", "info"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise StepFailed(f"the Docker engine did not start; see {LOG}")
        time.sleep(0.5)


def packages() -> None:
    """Debian's packages for engine and node image, where one of their commands is missing. Raises `StepFailed`."""
    if all(shutil.which(command) for command in ("dockerd", "conntrack", "socat", "mmdebstrap", "gcc")):
        return
    if os.geteuid() != 0:
        raise StepFailed("no Docker engine answers, and only root can set one up; start Docker, or run this as root")
    if shutil.which("apt-get") is None:
        raise StepFailed("no Docker engine answers, and one can be set up on Debian only; start Docker")
    step("installing Debian's packages for engine and images")
    run("apt-get", "update", "-qq", DEBIAN_FRONTEND="noninteractive")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, DEBIAN_FRONTEND="noninteractive")


def end() -> None:
    """End the engine if it is ours, and undo what it did to this machine; its images stay."""
    if not ENGINE.exists():
        return
    process = _process()
    if process is not None and not our_engine_answers():
        raise StepFailed(f"our Docker engine (process {process}) does not answer; see {LOG}, or end it yourself")
    if process is not None:
        step("ending our Docker engine")
        containers = run("docker", "container", "ls", "--all", "--quiet").split()
        if containers:
            run("docker", "container", "rm", "--force", "--volumes", *containers)
        for kind in ("volume", "network", "image"):
            run("docker", kind, "prune", "--force")
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + ENDS_WITHIN_S
        while _process() is not None:
            if time.monotonic() > deadline:
                raise StepFailed(f"the Docker engine (process {process}) does not end; see {LOG}")
            time.sleep(0.2)
    _clear()
    if FIREWALL.exists():
        if works("docker", "info"):
            # Another engine has come up since; which chains are whose nobody can say any more.
            FIREWALL.unlink()
        else:
            firewall.restore(FIREWALL)
    LOG.unlink(missing_ok=True)


def is_ours() -> bool:
    """Whether an engine runs that was started here."""
    return _process() is not None


def _process() -> int | None:
    """Our engine's number, by what it was started with: a file with it may be older than this machine's last start."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        words = _words(file)
        if Path(words[0]).name == "dockerd" and str(DATA) in words:
            return int(file.parent.name)
    return None


def _clear() -> None:
    """Remove what an engine leaves that was killed, or that ran when the machine went down; none of ours runs."""
    if _process() is not None:
        return
    for file in list(Path("/proc").glob("[0-9]*/cmdline")):
        # containerd, and one shim for each container; a container ends with its first process, a child of the shim.
        if any(str(STATE) in word for word in _words(file)):
            for pid in (file.parent.name, *_children(file.parent)):
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in reversed(mounted):
        if Path(place).is_relative_to(ENGINE):
            run("umount", "--lazy", place)
    shutil.rmtree(STATE, ignore_errors=True)
    SOCKET.unlink(missing_ok=True)
    # dockerd refuses to start while any process has the number in it.
    (ENGINE / "docker.pid").unlink(missing_ok=True)


def _children(process: Path) -> list[str]:
    try:
        return (process / "task" / process.name / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _words(cmdline: Path) -> list[str]:
    try:
        return cmdline.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return [""]
