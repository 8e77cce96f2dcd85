"""Reconciles `BotSchedule` objects.

`plan` decides without side effects. `children` builds the children. `reconcile` acts. `runs` reads the
reports of the runs.
"""
