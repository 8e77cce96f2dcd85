"""Sends messages: the gate, Meta's limits, the calls of the Graph API, and their outcomes."""
