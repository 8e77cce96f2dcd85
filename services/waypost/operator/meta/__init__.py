"""The operator's calls to Meta, which are measured and kept within an hourly budget."""
