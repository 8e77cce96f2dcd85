"""Writes the generated files from their sources. Run `make generate`."""
