"""The worker: an RQ worker whose jobs drain lanes, and a sender that calls the Graph API."""
