"""Reconciles `BotSchedule` objects: `plan` decides (pure), `children` builds, `reconcile` acts, `runs` reports."""
