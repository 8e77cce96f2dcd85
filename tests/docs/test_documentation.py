"""Tests that statements of the documents are true."""

from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from waypost.cli.main import app
from waypost.settings import Settings


@pytest.fixture
def root(pytestconfig: pytest.Config) -> Path:
    """Returns the project's folder."""
    return pytestconfig.rootpath


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default_and_description(root: Path, name: str) -> None:
    """docs/settings.md has each setting with its default and its description.

    A user cannot use a setting that is not documented.
    """
    line = next(
        (line for line in (root / "docs/settings.md").read_text().splitlines() if f"`WAYPOST_{name.upper()}`" in line),
        "",
    )
    default, description = Settings.model_fields[name].default, Settings.model_fields[name].description

    assert f"| `{default}` |" in line if default not in {None, ""} else "| – |" in line
    assert line.endswith(f"| {description} |")


@pytest.mark.parametrize("name", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_is_documented_and_helps(root: Path, name: str) -> None:
    """`waypost NAME --help` works for each command, and docs/commands.md documents the command."""
    assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
    assert f"waypost {name}" in (root / "docs/commands.md").read_text()
