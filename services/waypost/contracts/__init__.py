"""What one process writes for another: one model per document."""
