"""An API server in memory for each test, and an operator in this process that really watches it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waypost.operator.cluster import connection
from waypost.operator.cluster.api_calls import KubernetesCalls
from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.engine.object_cache import Known

from .apiserver import ApiServer
from .running import RELEASE, Fleet


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """An API server that holds nothing."""
    server = ApiServer()
    server.start()
    yield server
    server.stop()


Connect = Callable[..., Awaitable[KubernetesCluster]]


@pytest.fixture
async def connect(api: ApiServer, tmp_path: Path) -> AsyncIterator[Connect]:
    """`await connect(…)` gives a cluster over the API server, made with these arguments and closed at the end."""
    kubeconfig, made = api.kubeconfig(tmp_path), []

    async def connected(known: Known | None = None, **how: Any) -> KubernetesCluster:
        calls = KubernetesCalls(await connection.client(kubeconfig), lambda: connection.configuration(kubeconfig))
        made.append(KubernetesCluster(calls, known or Known(), release_namespace=RELEASE, **how))
        return made[-1]

    yield connected
    for cluster in made:
        await cluster.close()


@pytest.fixture
async def cluster(connect: Connect) -> KubernetesCluster:
    """A cluster of all namespaces whose objects nobody has listed yet."""
    return await connect()


@pytest.fixture
def fleet(api: ApiServer, tmp_path: Path) -> Iterator[Fleet]:
    """Starts operators with reconcilers that only take notes; whatever still runs at the end is stopped."""
    made = Fleet(api, api.kubeconfig(tmp_path))
    yield made
    made.close()
