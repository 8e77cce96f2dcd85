"""The state of the simulated Meta: apps, accounts, numbers, users, what was sent and delivered."""
