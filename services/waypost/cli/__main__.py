"""Runs `python -m waypost.cli`, which starts a service with the current interpreter."""

from waypost.cli.main import main

main()
