"""Turns stored rows into counts of messages by hour, gauges for Prometheus, and exports for people."""
