"""The command `waypost dev` runs all processes on one machine, from the same YAML files that a cluster takes."""
