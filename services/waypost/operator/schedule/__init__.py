"""Reconciles `BotSchedule` objects. `plan` decides (pure), `children` builds the children, `reconcile` acts, and `runs`
reads the reports of the runs.
"""
