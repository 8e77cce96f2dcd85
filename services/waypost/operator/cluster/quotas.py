"""Looks up the quotas of namespaces.

A quota is an annotation of the Namespace, which only the platform can write. A namespace without the annotation has
the platform's default.
"""

import re
from collections.abc import Callable

import structlog

from waypost.operator.api.number_models import GROUP
from waypost.operator.cluster.interface import Cluster, ClusterRefused

log = structlog.get_logger(__name__)

REGISTRY_BYTES = f"{GROUP}/quota-registry-bytes"
"""Annotation of a Namespace: most bytes that its numbers and their bots may take in the registry, such as `2Mi`; 0
means no quota."""

FRESH_S = 60.0
"""Seconds for which the annotations of a Namespace are cached."""

_QUANTITY = re.compile(r"([0-9]{1,15})(|k|M|G|Ki|Mi|Gi)", re.ASCII)
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def parse_bytes(text: str) -> int | None:
    """Returns the number of bytes in a quantity, or None if `text` is not a quantity of bytes."""
    matched = _QUANTITY.fullmatch(text.strip())
    return int(matched[1]) * _UNITS[matched[2]] if matched else None


class Quotas:
    """Looks up the quotas of namespaces. `registry_bytes` is the default of the platform. 0 means no quota."""

    def __init__(self, cluster: Cluster, registry_bytes: int, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._registry_bytes = registry_bytes
        self._clock = clock
        self._cache: dict[str, tuple[float, int]] = {}
        self._warned: set[str] = set()

    async def registry_bytes(self, namespace: str) -> int | None:
        """Returns how many bytes of the registry a namespace may use, or None if there is no quota.

        Raises `ClusterError`.
        """
        now = self._clock()
        cached = self._cache.get(namespace)
        if cached is None or now - cached[0] >= FRESH_S:
            cached = self._cache[namespace] = (now, await self._read(namespace))
        return cached[1] or None

    async def _read(self, namespace: str) -> int:
        try:
            annotations = await self._cluster.namespace_annotations(namespace)
        except ClusterRefused as error:
            # An operator that was installed with fewer rights still works, with the default of the platform.
            self._warn(namespace, f"the annotations of a namespace cannot be read ({error.reason})")
            return self._registry_bytes
        text = annotations.get(REGISTRY_BYTES)
        if text is None:
            return self._registry_bytes
        quota = parse_bytes(text)
        if quota is None:
            self._warn(namespace, "the quota of a namespace is no number of bytes, so it has the default")
            return self._registry_bytes
        self._warned.discard(namespace)
        return quota

    def _warn(self, namespace: str, problem: str) -> None:
        if namespace not in self._warned:
            self._warned.add(namespace)
            log.warning(problem, namespace=namespace)
