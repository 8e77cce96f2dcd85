"""PostgreSQL: tables, migrations, and queries that are named after what they answer.

Only this package contains SQL.
"""
