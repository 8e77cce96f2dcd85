"""Tests that `tools.offline.binaries` builds a program only if PATH has no version that is new enough."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.machine import REPOSITORY, StepFailed
from tools.offline import binaries


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("v3.18.4+gd80839c", (3, 18)),
        ("0.33.0\n", (0, 33)),
        ("Client Version: v1.34.4\nKustomize Version: v5.7.1\n", (1, 34)),
        ("development\n", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_version_is_the_first_one_in_a_programs_output(output: str, version: tuple[int, int]) -> None:
    """The version of a program is the first one in its output, because every program prints it differently.

    A program that prints no version counts as too old.
    """
    assert binaries.first_version(output) == version


@pytest.fixture
def on_path(tmp_path: Path) -> Path:
    """Returns a folder that is the only one on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    return folder


def _write_program(folder: Path, name: str, output: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{output}'\n")
    (folder / name).chmod(0o755)


def _run_binaries(name: str, on_path: Path) -> subprocess.CompletedProcess[str]:
    """Runs `tools.offline.binaries` with an empty cache and without Go."""
    cache = on_path.parent / "cache"
    return subprocess.run(
        [sys.executable, "-m", "tools.offline.binaries", name],
        cwd=REPOSITORY,
        env={"PATH": str(on_path), "WAYPOST_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_program_on_path_that_is_new_enough_is_not_built(on_path: Path) -> None:
    """A program on PATH that is new enough is not built, which saves minutes.

    Standard output contains only the folder, so that a shell can use it.
    """
    _write_program(on_path, "helm", "v4.0.1")
    done = _run_binaries("helm", on_path)
    assert (done.returncode, done.stdout) == (0, f"{on_path.parent}/cache/bin\n")


def test_a_program_on_path_that_is_too_old_is_built(on_path: Path) -> None:
    """A program on PATH that is too old is built, although it has the right name.

    The helm of last year would fail later and with a less clear error.
    """
    _write_program(on_path, "helm", "v3.9.0")
    done = _run_binaries("helm", on_path)
    assert done.returncode == 1
    assert "make: helm must be built, and Go is not installed" in done.stderr


def test_another_name_of_a_program_builds_that_program(on_path: Path) -> None:
    """The name `kube-apiserver` builds `kubernetes`, because all of Kubernetes is one program with many names."""
    assert "kubernetes must be built, and Go" in _run_binaries("kube-apiserver", on_path).stderr


def test_an_unknown_name_is_refused() -> None:
    """An unknown name is refused with a message that lists the names that exist."""
    with pytest.raises(StepFailed, match=r"kubernettes is not among .* coredns"):
        binaries.missing(["kubernettes"])
