"""Reads from the workers whether the bots of numbers answer, for the condition `BotHealthy`."""
