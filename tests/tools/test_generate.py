"""Tests that `make generate` writes every generated file, and that `make check` finds those that are stale."""

from pathlib import Path

import pytest

from tools.generate import __main__ as generate
from tools.machine import REPOSITORY


def test_every_generated_file_is_up_to_date() -> None:
    """Every generated file is up to date. If this test fails, run `make generate`."""
    assert generate.stale(REPOSITORY) == []


def test_a_stale_file_is_named_with_the_command_that_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a stale file, a check prints the command that writes it, but does not change the file.

    After the command the check passes.
    """
    generate.write(tmp_path)
    table = tmp_path / "charts/waypost/README.md"
    table.write_text("stale")

    assert generate.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "charts/waypost/README.md is stale; run `make generate`\n"
    assert table.read_text() == "stale"
    assert generate.main([], tmp_path) == 0
    assert capsys.readouterr().out == "wrote charts/waypost/README.md\n"
    assert generate.main(["--check"], tmp_path) == 0


def test_a_missing_file_is_stale(tmp_path: Path) -> None:
    """A missing file is stale. The files of a new kind do not exist until they are generated for the first time."""
    assert generate.stale(tmp_path) == list(generate.files())


def test_a_file_that_is_up_to_date_is_not_written_again(tmp_path: Path) -> None:
    """A file that is up to date is not written again. Its time stays, so nothing that depends on it is rebuilt."""
    generate.write(tmp_path)

    assert generate.write(tmp_path) == []
