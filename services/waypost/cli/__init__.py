"""The `waypost` command and what its subcommands do."""
