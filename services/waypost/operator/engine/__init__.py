"""Runs the reconcilers: kopf's watches, the wake-ups that follow from their events, the agenda and the workers."""
