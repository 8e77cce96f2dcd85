"""Everything the operator does with the Kubernetes API: calls, registry Secrets, leadership."""
