"""Implements the command `waypost schedule run`, which performs one run of a `BotSchedule`. The Jobs of its CronJob
call this command.
"""
