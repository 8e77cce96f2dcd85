"""Logs, traces, metrics and probes of every process. None of them may contain what people wrote."""
