"""Fixtures that give each test an API server in memory, and operators in this process that watch it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waypost.operator.cluster import connection
from waypost.operator.cluster.api_calls import KubernetesCalls
from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.engine.object_cache import ObjectCache

from .apiserver import ApiServer
from .running import RELEASE, Fleet


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """Yields an empty API server that runs."""
    server = ApiServer()
    server.start()
    yield server
    server.stop()


Connect = Callable[..., Awaitable[KubernetesCluster]]


@pytest.fixture
async def connect(api: ApiServer, tmp_path: Path) -> AsyncIterator[Connect]:
    """Yields a function. `await connect(…)` returns a cluster that uses the API server.

    All these clusters are closed after the test.
    """
    kubeconfig, made = api.kubeconfig(tmp_path), []

    async def connected(cache: ObjectCache | None = None, **how: Any) -> KubernetesCluster:
        calls = KubernetesCalls(await connection.client(kubeconfig), lambda: connection.configuration(kubeconfig))
        made.append(KubernetesCluster(calls, cache or ObjectCache(), release_namespace=RELEASE, **how))
        return made[-1]

    yield connected
    for cluster in made:
        await cluster.close()


@pytest.fixture
async def cluster(connect: Connect) -> KubernetesCluster:
    """Returns a cluster of all namespaces with an empty object cache."""
    return await connect()


@pytest.fixture
def fleet(api: ApiServer, tmp_path: Path) -> Iterator[Fleet]:
    """Yields a fleet of operators whose reconcilers only record their calls.

    Operators that still run after the test are stopped.
    """
    made = Fleet(api, api.kubeconfig(tmp_path))
    yield made
    made.close()
