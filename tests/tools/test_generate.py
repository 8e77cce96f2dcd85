"""`make generate` writes every generated file, and `make check` finds those that are stale."""

from pathlib import Path

import pytest

from tools.generate import __main__ as generate
from tools.machine import REPOSITORY


def test_every_generated_file_is_up_to_date() -> None:
    """If this fails, run `make generate`."""
    assert generate.stale(REPOSITORY) == []


def test_a_stale_file_is_named_with_the_command_that_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check leaves the stale file as it is; the command then makes the check pass."""
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
    """A new kind has no files until they are generated for the first time."""
    assert generate.stale(tmp_path) == list(generate.files())


def test_a_file_that_is_up_to_date_is_not_written_again(tmp_path: Path) -> None:
    """Its time stays, so nothing that depends on it is built again."""
    generate.write(tmp_path)

    assert generate.write(tmp_path) == []
