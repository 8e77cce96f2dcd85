"""Simulates Meta: a Graph API that is as strict as Meta's, signed deliveries, statuses, and faults on demand."""
