"""The queue on PostgreSQL and RQ: events wait in lanes, an RQ job says "drain lane n", a lease excludes other drains.

Redis holds hints only. If it loses one, the sweeper finds the waiting events in the database.
"""
