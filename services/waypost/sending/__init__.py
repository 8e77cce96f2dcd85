"""Sending: the gate, Meta's limits, the calls, and what became of them."""
