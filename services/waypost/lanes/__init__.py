"""The queue protocol on PostgreSQL and RQ: events wait in lanes, RQ jobs say "drain lane n", a lease excludes others.

Redis holds hints only. Whatever it loses, the sweeper finds again in the database.
"""
