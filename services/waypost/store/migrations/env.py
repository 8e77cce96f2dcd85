"""The file that Alembic runs for a migration.

It uses the connection from `waypost.store.connection.schema` and runs inside the transaction of that
connection.
"""

from alembic import context

from waypost.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
    compare_server_default=True,
)
context.run_migrations()
