"""Implements the command `waypost schedule run`, which performs one run of a `BotSchedule`.

The Jobs of the schedule's CronJob call this command.
"""
