"""Programs for working on Waypost: the cluster of `make up`, and what it is built from without downloads."""
