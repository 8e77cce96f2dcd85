"""The kind cluster of `make cluster`, `make up`, `make e2e` and `make down`."""
