"""The worker: an RQ worker whose jobs drain lanes, and beside it the sender that talks to the Graph API."""
