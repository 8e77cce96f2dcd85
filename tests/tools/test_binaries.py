"""Which programs are built, and which of those on PATH do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.machine import REPOSITORY, StepFailed
from tools.offline import binaries


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("v3.18.4+gd80839c", (3, 18)),
        ("0.33.0\n", (0, 33)),
        ("Client Version: v1.34.4\nKustomize Version: v5.7.1\n", (1, 34)),
        ("development\n", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_version_is_the_first_that_a_program_names(said: str, version: tuple[int, int]) -> None:
    """Each of them says it in words of its own; one that says none is not taken for fitting."""
    assert binaries.version_in(said) == version


@pytest.fixture
def on_path(tmp_path: Path) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    return folder


def _program(folder: Path, name: str, says: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(0o755)


def _asked_for(name: str, on_path: Path) -> subprocess.CompletedProcess[str]:
    """What `tools.offline.binaries` does where nothing is cached, and Go is not on PATH."""
    cache = on_path.parent / "cache"
    return subprocess.run(
        [sys.executable, "-m", "tools.offline.binaries", name],
        cwd=REPOSITORY,
        env={"PATH": str(on_path), "WAYPOST_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_program_on_path_in_a_fitting_version_is_not_built(on_path: Path) -> None:
    """Minutes are saved where the tools are there; the output is the folder alone, for a shell to take."""
    _program(on_path, "helm", "v4.0.1")
    asked = _asked_for("helm", on_path)
    assert (asked.returncode, asked.stdout) == (0, f"{on_path.parent}/cache/bin\n")


def test_a_program_on_path_that_is_too_old_is_built(on_path: Path) -> None:
    """A name alone says nothing: last year's helm would fail later and less clearly."""
    _program(on_path, "helm", "v3.9.0")
    asked = _asked_for("helm", on_path)
    assert asked.returncode == 1
    assert "make: helm must be built, and Go is not installed" in asked.stderr


def test_names_of_one_program_build_it_once(on_path: Path) -> None:
    """All of Kubernetes is one program under many names."""
    assert "kubernetes must be built, and Go" in _asked_for("kube-apiserver", on_path).stderr


def test_an_unknown_name_is_refused() -> None:
    """The message tells which there are."""
    with pytest.raises(StepFailed, match=r"kubernettes is not among .* coredns"):
        binaries.lacking(["kubernettes"])
