"""Models of the documents that one process writes and another one reads: one module per document."""
