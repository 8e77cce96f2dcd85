"""Logs, traces, metrics and probes of every process; none of them may carry what people wrote."""
