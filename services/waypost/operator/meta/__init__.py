"""The operator's calls to Meta. The calls are measured and kept within an hourly budget."""
