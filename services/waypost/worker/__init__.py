"""The worker: RQ workers whose jobs drain lanes, and beside them the sender that talks to the Graph API."""
