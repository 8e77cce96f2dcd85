"""Injects every fault of docs/reliability.md and records what happened. Run `make faults`."""
