"""PostgreSQL: tables, migrations and queries. Each query has the name of what it returns or does.

Only this package contains SQL.
"""
