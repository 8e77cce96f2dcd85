"""The `waypost` command and its subcommands."""
