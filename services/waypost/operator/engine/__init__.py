"""What drives reconciling: kopf's watches, wake-ups, the agenda, the workers."""
