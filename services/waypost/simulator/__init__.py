"""Simulates Meta: a Graph API that is as strict, signed deliveries, statuses, and faults on demand."""
