"""The queue on PostgreSQL and RQ.

Events wait in lanes. An RQ job says "drain lane n". A lease ensures that only one drain works on a lane.

Redis holds hints only. If Redis loses a hint, the sweeper finds the waiting events in the database.
"""
