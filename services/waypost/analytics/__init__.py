"""Evaluates stored rows: messages by hour, gauges for Prometheus, exports for people."""
