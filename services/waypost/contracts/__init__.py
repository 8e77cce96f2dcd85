"""Documents that one process writes for another: one model for each."""
