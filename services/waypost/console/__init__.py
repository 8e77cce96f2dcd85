"""The status page: how the numbers fare, for people who run them. It shows no message and nobody's number."""
