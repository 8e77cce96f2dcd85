"""Calls to the Graph API: one client, its calls grouped by resource, and the meaning of responses and errors."""
