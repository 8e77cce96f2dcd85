"""The command `waypost schedule run`: one run of a `BotSchedule`, as the Jobs of its CronJob do it."""
