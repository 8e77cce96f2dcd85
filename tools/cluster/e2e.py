"""`make e2e`: runs the tests that need a cluster.

They run on the cluster of `make up` if it exists, and otherwise on a temporary one.

    python -m tools.cluster.e2e [--only tests/cluster|tests/e2e] [pytest's arguments]

`KEEP=1` keeps the temporary cluster. The exit status is that of pytest.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tools.cluster import create, down, kind, release
from tools.machine import (
    CLUSTER,
    KUBECONFIG,
    REPOSITORY,
    StepFailed,
    environment,
    fail,
    lock_cache,
    print_step,
    succeeds,
)

API_SERVER, RELEASE = "tests/cluster", "tests/e2e"
"""The tests that need an API server without a release on it, and those that test a release."""
WITHOUT_SLOW = ("-m", "not slow")
"""Leaves out the tests that only `make faults` runs. A later `-m` replaces this one."""
NO_TESTS_COLLECTED = 5
"""pytest's exit status when its arguments select no test."""


def main() -> None:
    """Runs the tests, and removes the cluster afterwards if it was created for them. Raises `StepFailed`."""
    parser = argparse.ArgumentParser(usage="e2e.py [--only FOLDER] [pytest's arguments]", add_help=False)
    parser.add_argument("--only", choices=(API_SERVER, RELEASE))
    own, arguments = parser.parse_known_args()
    with cluster():
        status = run_tests([own.only] if own.only else [API_SERVER, RELEASE], [*WITHOUT_SLOW, *arguments])
    sys.exit(status)


@contextmanager
def cluster() -> Iterator[None]:
    """Reserves the cache, and removes the cluster afterwards if it did not exist before."""
    # SIGTERM must run the `finally` below: otherwise it leaves a cluster behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lock_cache()
    existed = CLUSTER in kind.cluster_names()
    try:
        yield
    finally:
        if not existed and os.environ.get("KEEP") != "1":
            down.remove()


def run_tests(folders: Sequence[str], arguments: Sequence[str]) -> int:
    """Makes sure that the cluster exists and runs these folders' tests. Returns pytest's status.

    Raises `StepFailed`.
    """
    offline = create.ensure_cluster()
    if API_SERVER in folders and is_installed():
        # These tests run an operator of their own; the release's operator would fight with it.
        if RELEASE not in folders:
            raise StepFailed("the chart is installed, and tests/cluster run an operator of their own: make down")
        print_step("skipping tests/cluster, because the chart is installed; after `make down` they run too")
        folders = [RELEASE]
    # Building and loading the image takes a minute, and the first tests wait more than they compute.
    with ThreadPoolExecutor(1) as background:
        loading = background.submit(release.load_images, offline=offline)
        if API_SERVER in folders and (
            status := run_pytest(API_SERVER, arguments, WAYPOST_TEST_KUBECONFIG=str(KUBECONFIG))
        ):
            return status
        loading.result()
    if RELEASE not in folders:
        return 0
    release.install_collector(offline=offline)
    return run_pytest(RELEASE, arguments, WAYPOST_E2E="1")


def is_installed() -> bool:
    """Returns whether the chart is installed in the cluster."""
    return succeeds("helm", "--namespace", release.NAMESPACE, "status", "waypost")


def run_pytest(folder: str, arguments: Sequence[str], **variables: str) -> int:
    """Runs pytest on a folder and passes its output through. Returns pytest's status.

    Returns 0 if the arguments select no test in the folder.
    """
    print_step(f"running {folder}")
    program = str(Path(sys.executable).parent / "pytest")
    command = [program, folder, "--timeout=900", "--durations=10", *arguments]
    status = subprocess.run(command, cwd=REPOSITORY, env={**environment(), **variables}, check=False).returncode
    return 0 if status == NO_TESTS_COLLECTED and arguments else status


if __name__ == "__main__":
    try:
        main()
    except StepFailed as failure:
        fail(str(failure))
