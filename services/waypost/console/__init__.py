"""Serves the status page for the people who run the numbers. It shows no messages and no contacts."""
