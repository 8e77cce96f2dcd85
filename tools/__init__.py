"""Programs for working on Waypost. They create the cluster of `make up`, and build its parts without downloads."""
