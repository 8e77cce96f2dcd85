"""Migrates a database to the schema that this version needs."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

_MIGRATION_LOCK = 7_391_166_015
"""Key of the advisory lock that makes pods that start together migrate one at a time; the first does all the work."""


def _config() -> Config:
    config = Config()
    migrations = str(Path(__file__).parents[1] / "migrations")
    config.set_main_option("script_location", migrations.replace("%", "%%"))  # `%(here)s` would be replaced
    return config


def migrate(engine: Engine) -> None:
    """Applies every missing migration. Many processes may call it at once.

    A newer schema stays as it is, so that the migration of a release that is rolled back to succeeds.
    """
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '120s'"))
        connection.execute(text("SET LOCAL statement_timeout = '120s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config = _config()
        if _is_newer(connection, config):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def pending(engine: Engine) -> bool:
    """Returns whether the database lacks a migration. A service is not ready until the database has all migrations.

    A schema that this version does not know is newer than this version. A newer schema must work with the version
    before it, because pods of that version may start during an upgrade and after a rollback.
    """
    config = _config()
    with engine.connect() as connection:
        if _is_newer(connection, config):
            return False
        current = set(MigrationContext.configure(connection).get_current_heads())
    return current != set(ScriptDirectory.from_config(config).get_heads())


def _is_newer(connection: Connection, config: Config) -> bool:
    """Returns whether the database has a migration that this version does not know."""
    current = set(MigrationContext.configure(connection).get_current_heads())
    return bool(current - {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()})
