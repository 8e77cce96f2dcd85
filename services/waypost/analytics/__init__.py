"""Numbers made of rows: messages by hour, gauges for Prometheus, exports for people."""
