"""A way around types of the Kubernetes client that are too narrow."""

from typing import Any


def untyped(value: object) -> Any:
    """Return the value as it is, for calls of the Kubernetes client that mypy would refuse.

    The client takes plain dicts as bodies where its types ask for models, returns custom objects as `object`, and has
    functions without types.
    """
    return value
