"""Decides and writes a number's status: conditions, summary, phone and token details."""
