"""Takes from the data plane what outlived its number: whose finalizer was taken off by hand, nobody let go of it."""

import structlog

from waypost.operator.api.kinds import NUMBER
from waypost.operator.cluster.interface import Cluster, ClusterRefused
from waypost.operator.cluster.registry_secrets import Registry
from waypost.operator.number.operator_secrets import Keeping

log = structlog.get_logger(__name__)


async def sweep(cluster: Cluster, registry: Registry, keeping: Keeping) -> int:
    """How many numbers were taken away. Each is looked up before: a number that may not be read is left alone.

    Raises `ClusterAway`.
    """
    known = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in await cluster.objects(NUMBER)}
    swept = 0
    for namespace, name in sorted(await registry.names() - known):
        try:
            if await cluster.read(NUMBER, namespace, name) is not None:
                continue
        except ClusterRefused:
            # It is in a namespace that is not watched any more, where the operator may not even look.
            continue
        await registry.withdraw(namespace, name)
        await keeping.forget(namespace, name)
        log.info("a number that is gone was taken from the data plane", number=f"{namespace}/{name}")
        swept += 1
    return swept
