"""Alembic's entry: runs on the connection that `waypost.store.connection.schema` hands over, inside its transaction."""

from alembic import context

from waypost.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
    compare_server_default=True,
)
context.run_migrations()
