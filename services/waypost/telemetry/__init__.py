"""What a process tells of itself: logs, traces, metrics and probes, none of which may carry what people wrote."""
