"""The operator's access to the Kubernetes API: calls, registry Secrets, leadership."""
