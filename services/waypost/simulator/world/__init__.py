"""The state of the simulated Meta: apps, accounts, numbers, users, messages and deliveries."""
