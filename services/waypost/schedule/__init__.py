"""One run of a `BotSchedule`: what the Jobs of its CronJob do, `waypost schedule run`."""
