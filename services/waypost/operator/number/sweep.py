"""Withdraws the registry entries and secrets of numbers whose object is gone but whose finalizer never ran.

This happens when a user removes the finalizer by hand. The sweep also removes everything from the registry
that no number uses.
"""

import structlog

from waypost.operator.api.kinds import NUMBER
from waypost.operator.cluster.interface import Cluster, ClusterRefused
from waypost.operator.cluster.registry_secrets import Registry
from waypost.operator.number.operator_secrets import OperatorSecrets

log = structlog.get_logger(__name__)


async def sweep(cluster: Cluster, registry: Registry, secrets: OperatorSecrets) -> int:
    """Withdraws numbers whose object does not exist. Returns how many were withdrawn. Raises `ClusterAway`."""
    existing = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in await cluster.objects(NUMBER)}
    swept = 0
    for namespace, name in sorted(await registry.names() - existing):
        # The list may be older than the entry, so each object is read before it is taken for gone.
        try:
            if await cluster.read(NUMBER, namespace, name) is not None:
                continue
        except ClusterRefused:
            # The operator may not read a namespace that it no longer watches. Its numbers may well exist.
            continue
        await registry.withdraw(namespace, name)
        await secrets.delete(namespace, name)
        log.info("a number without an object was withdrawn", number=f"{namespace}/{name}")
        swept += 1
    await registry.tidy()
    return swept
