"""Runs the reconcilers.

The package contains kopf's watches, the wake-ups that follow from their events, the agenda, and the workers.
"""
