"""Tests what `make` refuses before it creates the environment. Each refusal is one line that says what to do."""

import os
import subprocess
from pathlib import Path

import pytest


def _made(pytestconfig: pytest.Config, folder: Path, python: str) -> "subprocess.CompletedProcess[str]":
    """Runs `make venv` in `folder` with the repository's Makefile."""
    folder.mkdir(parents=True)
    (folder / "Makefile").symlink_to(pytestconfig.rootpath / "Makefile")
    for name in ("requirements.lock", "pyproject.toml"):
        (folder / name).touch()
    outer = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}  # of a `make test` that runs us
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", "venv", f"PYTHON={python}"], check=False, cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def python(short_folder: Path) -> str:
    """Returns a program that `make` takes for a Python of a suitable version, but that creates no environment."""
    program = short_folder / "python-without-venv"
    program.write_text('#!/bin/sh\n[ "$1" = -c ]\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    "name", ["my work/way post", "#1 100%", "wörk 日本", "o'clock?", "a;b&c|(d)*[e]{f}~=,", "/".join(["x" * 200] * 3)]
)
def test_an_odd_folder_is_taken(pytestconfig: pytest.Config, tmp_path: Path, python: str, name: str) -> None:
    """A folder with an odd name is accepted, so `make` starts to create the environment.

    The environment is not completed, because the test has no real Python.
    """
    assert "Installing into .venv" in _made(pytestconfig, tmp_path / name, python).stdout


@pytest.mark.parametrize(
    "name", ['"quoted"', "$HOME", "back`tick", "back\\slash", "a:b", "two\nlines", "/".join(["x" * 200] * 5)]
)
def test_a_folder_in_which_postgresql_could_not_run_is_refused(
    pytestconfig: pytest.Config, tmp_path: Path, python: str, name: str
) -> None:
    """A folder in which PostgreSQL could not run is refused at once.

    Otherwise pip would work for a minute, and PostgreSQL's own program would print an error about a shell.
    """
    made = _made(pytestconfig, tmp_path / name, python)

    assert made.returncode != 0
    assert "PostgreSQL cannot run below" in made.stderr
    assert made.stdout == ""


def test_a_python_without_wheels_is_refused(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """A Python version for which there are no wheels is refused in one line.

    The line names the versions that fit, and says how to choose one.
    """
    made = _made(pytestconfig, tmp_path / "checkout", "false")

    assert made.returncode != 0
    assert "false is not Python 3.11 to 3.14; name one that is: make PYTHON=python3.13" in made.stderr
    assert made.stdout == ""
