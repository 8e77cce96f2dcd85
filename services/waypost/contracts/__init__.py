"""Models of the documents that one process writes and another process reads. Each document has one module."""
