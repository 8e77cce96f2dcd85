"""`make e2e`: the tests that need a cluster, on the one of `make up`, or on one made for them and removed again.

    python tools/cluster/e2e.py [pytest's arguments]

`KEEP=1` leaves a cluster that was made for them. Ends with pytest's status.
"""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import down
import kind
import release
import up
from machine import CLUSTER, KUBECONFIG, NAMESPACE, REPOSITORY, StepFailed, alone, environment, fail, step, works

NOTHING_CHOSEN = 5
"""Of pytest."""


def main() -> None:
    """See the module's text."""
    # An end from outside must not leave a cluster behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    alone()
    was_there = CLUSTER in kind.names()
    try:
        status = everything()
    finally:
        if not was_there and os.environ.get("KEEP") != "1":
            down.remove()
    sys.exit(status)


def everything() -> int:
    """Make sure of the cluster and run the tests. Returns pytest's status. Raises `StepFailed`."""
    offline = up.cluster()
    # Building and loading takes a minute, and the first tests wait more than they compute.
    with ThreadPoolExecutor(1) as beside:
        loaded = beside.submit(release.load_images, offline=offline)
        if is_installed():
            # They bring an operator of their own, which that of the release would fight with.
            step("left out: tests/cluster, for the chart is installed; after `make down` they run too")
        elif status := tests("tests/cluster", WAYPOST_TEST_KUBECONFIG=str(KUBECONFIG)):
            return status
        loaded.result()
    release.collector(offline=offline)
    return tests("tests/e2e", WAYPOST_E2E="1")


def is_installed() -> bool:
    """Whether the chart is in the cluster already."""
    return works("helm", "--namespace", NAMESPACE, "status", "waypost")


def tests(folder: str, **settings: str) -> int:
    """Run pytest over a folder, its output as it comes. Returns its status, and 0 where its arguments chose nothing."""
    step(f"running {folder}")
    command = [Path(sys.executable).parent / "pytest", folder, "--timeout=900", "--durations=10", *sys.argv[1:]]
    status = subprocess.run(command, cwd=REPOSITORY, env={**environment(), **settings}, check=False).returncode
    return 0 if status == NOTHING_CHOSEN and sys.argv[1:] else status


if __name__ == "__main__":
    try:
        main()
    except StepFailed as failure:
        fail(str(failure))
