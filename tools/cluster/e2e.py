"""`make e2e`: the tests that need a cluster, on the one of `make up`, or on one made for them and removed again.

    python -m tools.cluster.e2e [--only tests/cluster|tests/e2e] [pytest's arguments]

`KEEP=1` leaves a cluster that was made for them. Ends with pytest's status.
"""

import argparse
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.cluster import create, down, kind, release
from tools.machine import CLUSTER, KUBECONFIG, REPOSITORY, StepFailed, alone, environment, fail, step, works

API_SERVER, RELEASE = "tests/cluster", "tests/e2e"
"""What needs an API server and no release on it, and what tests a release."""
NOTHING_CHOSEN = 5
"""Of pytest."""


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(usage="e2e.py [--only FOLDER] [pytest's arguments]", add_help=False)
    parser.add_argument("--only", choices=(API_SERVER, RELEASE))
    chosen, arguments = parser.parse_known_args()
    # An end from outside must not leave a cluster behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    alone()
    was_there = CLUSTER in kind.names()
    try:
        status = everything([chosen.only] if chosen.only else [API_SERVER, RELEASE], arguments)
    finally:
        if not was_there and os.environ.get("KEEP") != "1":
            down.remove()
    sys.exit(status)


def everything(folders: list[str], arguments: list[str]) -> int:
    """Make sure of the cluster and run the tests. Returns pytest's status. Raises `StepFailed`."""
    offline = create.ensure()
    if API_SERVER in folders and is_installed():
        # They bring an operator of their own, which that of the release would fight with.
        if RELEASE not in folders:
            raise StepFailed("the chart is installed, and tests/cluster bring an operator of their own: make down")
        step("left out: tests/cluster, for the chart is installed; after `make down` they run too")
        folders = [RELEASE]
    # Building and loading takes a minute, and the first tests wait more than they compute.
    with ThreadPoolExecutor(1) as beside:
        loaded = beside.submit(release.load_images, offline=offline)
        if API_SERVER in folders and (status := tests(API_SERVER, arguments, WAYPOST_TEST_KUBECONFIG=str(KUBECONFIG))):
            return status
        loaded.result()
    if RELEASE not in folders:
        return 0
    release.collector(offline=offline)
    return tests(RELEASE, arguments, WAYPOST_E2E="1")


def is_installed() -> bool:
    """Whether the chart is in the cluster already."""
    return works("helm", "--namespace", release.NAMESPACE, "status", "waypost")


def tests(folder: str, arguments: list[str], **settings: str) -> int:
    """Run pytest over a folder, its output as it comes. Returns its status, and 0 where its arguments chose nothing."""
    step(f"running {folder}")
    pytest = str(Path(sys.executable).parent / "pytest")
    command = [pytest, folder, "--timeout=900", "--durations=10", *arguments]
    status = subprocess.run(command, cwd=REPOSITORY, env={**environment(), **settings}, check=False).returncode
    return 0 if status == NOTHING_CHOSEN and arguments else status


if __name__ == "__main__":
    try:
        main()
    except StepFailed as failure:
        fail(str(failure))
