"""Checks the scripts of bots in a child process with limits, so that no script can stop or slow down the operator."""

OUT_OF_MEMORY = 75
"""Exit status of the child when a script needs more memory than it may have."""
