"""`make e2e`: the tests that need a cluster, on the one of `make up`, or on one made for them and removed again.

    python tools/cluster/e2e.py [pytest's arguments]

`KEEP=1` leaves a cluster that was made for them. Ends with pytest's status.
"""

import os
import subprocess
import sys
from pathlib import Path

import down
import kind
import release
import up
from machine import KUBECONFIG, NAMESPACE, REPOSITORY, StepFailed, environment, fail, step, works

NOTHING_CHOSEN = 5
"""Of pytest."""


def main() -> None:
    """See the module's text."""
    was_there = kind.exists()
    try:
        offline = up.cluster()
        # They bring an operator of their own, which one in the cluster would fight with.
        status = 0 if is_installed() else tests("tests/cluster", WAYPOST_TEST_KUBECONFIG=str(KUBECONFIG))
        if status == 0:
            release.load_images(offline=offline)
            release.collector(offline=offline)
            status = tests("tests/e2e", WAYPOST_E2E="1")
    except StepFailed as failure:
        fail(str(failure))
    finally:
        if not was_there and os.environ.get("KEEP") != "1":
            down.main()
    sys.exit(status)


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
    main()
