"""Reconciles a `BotSchedule`: `plan.py` decides (pure), `reconcile.py` acts, `runs.py` reports."""
