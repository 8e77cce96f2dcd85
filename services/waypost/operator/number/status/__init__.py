"""Decides and writes a number's status: its conditions, its summary, and the details of its phone and token."""
