"""A way to pass values to the Kubernetes client where its types are too narrow."""

from typing import Any


def untyped(value: object) -> Any:
    """Returns `value` unchanged. Use it for calls of the Kubernetes client that mypy would refuse.

    The client accepts plain dicts as bodies where its types require models. It returns custom objects as `object`,
    and some of its functions have no types.
    """
    return value
