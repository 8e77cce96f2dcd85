"""Tests that `make cluster` and `make down` can run before `make venv` has created the environment."""

import subprocess
import sys

import pytest

from tools.machine import REPOSITORY


@pytest.mark.parametrize("module", ["tools.cluster.create", "tools.cluster.down"])
def test_a_program_that_runs_without_the_environment_imports_no_package(module: str) -> None:
    """A program that runs without the environment imports no package.

    `-S` leaves out site-packages, so that the import of any package fails.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import {module}"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
