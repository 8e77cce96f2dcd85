"""`python -m waypost.cli`, for starting a service with this very interpreter."""

from waypost.cli.main import main

main()
