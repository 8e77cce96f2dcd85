"""The command line has correct exit statuses, one line per error, and defaults from a running `waypost dev`."""

import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from waypost.cli.main import app
from waypost.store.connection import schema


def waypost(*arguments: str, **environment: str | None) -> Result:
    """Runs a `waypost` command in this process."""
    clean = {"WAYPOST_DATABASE_URL": None, "WAYPOST_REDIS_URL": None, "WAYPOST_REGISTRY_DIR": None}
    return CliRunner().invoke(app, arguments, env={**clean, **environment}, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["webhook"], {}, "WAYPOST_DATABASE_URL is not set; WAYPOST_REDIS_URL is not set"),
        (["migrate"], {}, "WAYPOST_DATABASE_URL is not set"),
        (["migrate"], {"WAYPOST_DATABASE_URL": "nonsense"}, "WAYPOST_DATABASE_URL is not an address"),
        (["migrate"], {"WAYPOST_LOG_LEVEL": "LOUD"}, "WAYPOST_LOG_LEVEL: Input should be"),
        (["dev", "/nowhere.yaml"], {}, "/nowhere.yaml: cannot be read"),
        (["export", "a/b", "--from", "2026-02-01", "--to", "2026-01-01"], {}, "--from is after --to"),
        (["send", "a/b", "--to", "+393331234567"], {}, "WAYPOST_DATABASE_URL is not set"),
    ],
)
def test_a_wrong_argument_or_setting_is_one_line_and_exit_status_two(
    arguments: list[str], environment: dict[str, str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong argument or setting prints one line and ends with status 2.

    There is no traceback, and the line names what to change.
    """
    monkeypatch.chdir(tmp_path)
    answer = waypost(*arguments, **environment)

    assert answer.exit_code == 2
    assert line in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert answer.stdout == ""


def test_an_unreachable_database_is_one_line_and_exit_status_one() -> None:
    """An unreachable database is reported in one line, with exit status 1.

    The arguments are right, so the status is not 2.
    """
    answer = waypost("dead", "list", WAYPOST_DATABASE_URL="postgresql://canary:canary@127.0.0.1:1/none")

    assert answer.exit_code == 1
    assert (
        "the database cannot be used: nothing listens at its address; run `waypost doctor` for details" in answer.stderr
    )
    assert "canary" not in answer.output


def test_migrate_creates_the_schema_in_an_empty_database(empty_database_url: str) -> None:
    """`waypost migrate` creates the schema in an empty database. A second run changes nothing."""
    for _ in range(2):
        assert waypost("migrate", WAYPOST_DATABASE_URL=empty_database_url).exit_code == 0
    engine = create_engine(make_url(empty_database_url).set(drivername="postgresql+psycopg"))
    assert not schema.pending(engine)
    engine.dispose()


def test_beside_a_running_dev_no_environment_is_needed(database_url: str, tmp_path: Path) -> None:
    """While `waypost dev` runs, other commands need no environment variables.

    `waypost dev` writes all addresses into `dev.json`.
    """
    (tmp_path / "dev.json").write_text(
        json.dumps(
            {
                "database": database_url,
                "redis": "unix:///nowhere",
                "simulator": "http://127.0.0.1:1",
                "webhook": "http://127.0.0.1:1",
            }
        )
    )

    assert json.loads(waypost("dead", "list", "--json", "--data", str(tmp_path)).stdout) == []


def test_the_environment_counts_more_than_a_dev_json(database_url: str, tmp_path: Path) -> None:
    """An address in the environment has priority over `dev.json`.

    A user who names an installation wants to use that installation.
    """
    (tmp_path / "dev.json").write_text("{}")

    answer = waypost("dead", "list", "--json", "--data", str(tmp_path), WAYPOST_DATABASE_URL=database_url)
    assert answer.exit_code == 0


def test_the_version_is_printed() -> None:
    """`waypost --version` prints the version, because bug reports need it."""
    assert waypost("--version").stdout.strip()
