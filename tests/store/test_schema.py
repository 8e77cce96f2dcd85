"""Tests of migrations and of databases that a newer version has migrated."""

import pytest
from sqlalchemy import Engine, text

from waypost.store.connection import schema


@pytest.mark.fault("K7")
def test_a_newer_schema_is_complete_and_stays_as_it_is(database: Engine) -> None:
    """After a rollback, the schema has a migration that this version does not know.

    The pods are ready, and the migration succeeds without a change.
    """
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    schema.migrate(database)
    assert not schema.pending(database)
    with database.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
