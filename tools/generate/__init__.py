"""Writes generated files from what they describe: run `make generate`."""
