"""PostgreSQL: tables, migrations, and queries named after what they answer. The only place with SQL."""
