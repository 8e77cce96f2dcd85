"""Tests that the migrations create what `tables` describes, and that enums have the values that columns allow."""

import re
from enum import StrEnum

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text

from waypost.contracts.states import ConversationOwner, Direction, EventState, OutboxState
from waypost.store.tables import metadata


def _is_comparable(_object: object, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    # Alembic reports an index on a COLLATE expression as removed and added, though it is the same.
    return (kind, name) != ("index", "outbox_request_idx")


def test_the_migrations_create_what_the_tables_describe(database: Engine) -> None:
    """The migrations create the tables, columns, types, indexes and comments that `tables` describes.

    If there is a difference, a migration is missing.
    """
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _is_comparable})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize(
    ("constraint", "states"),
    [
        ("event_state_check", EventState),
        ("outbox_state_check", OutboxState),
        ("conversation_owner_check", ConversationOwner),
        ("message_direction_check", Direction),
    ],
)
def test_a_column_allows_exactly_the_states_of_its_enum(
    database: Engine, constraint: str, states: type[StrEnum]
) -> None:
    """A column allows exactly the states of its enum, so a new state needs a migration."""
    with database.connect() as connection:
        definition: str = connection.execute(
            text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"), {"name": constraint}
        ).scalar_one()
    assert set(re.findall(r"'(\w+)'", definition)) == set(states)
