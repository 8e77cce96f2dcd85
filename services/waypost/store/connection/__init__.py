"""The database connection: engine, outages, readiness, schema migrations, array parameters."""
