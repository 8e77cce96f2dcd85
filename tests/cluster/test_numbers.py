"""A number on a real API server becomes ready and is later removed completely.

The object is written no more often than needed.
"""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from waypost.cloudapi.graph.client import GraphClient
from waypost.operator.api.conditions import find
from waypost.operator.cluster import connection
from waypost.operator.cluster.api_calls import KubernetesCalls
from waypost.operator.cluster.interface import Manifest
from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.engine.object_cache import ObjectCache
from waypost.operator.number.reconcile import NumberReconciler
from waypost.operator.options import OperatorOptions
from waypost.simulator.app import build

from ..untyped import untyped

pytestmark = pytest.mark.cluster

APP, SECRET, TOKEN, WABA = "100000000000001", "app-secret", "EAAtoken", "102290129340398"
PUBLIC = "https://webhook.invalid"
GROUP = ("waypost.dev", "v1alpha1")


class Place:
    """The operator's reconciler on the API server, the simulated Meta, and a webhook that answers every challenge."""

    def __init__(self, namespace: str, cluster: KubernetesCluster, simulation: Any, graph: GraphClient) -> None:
        self.namespace = namespace
        self.cluster = cluster
        self.simulation = simulation
        self.now = 1_800_000_000.0
        options = OperatorOptions(release_namespace=namespace, public_url=PUBLIC)
        self.reconciler = NumberReconciler(cluster, graph, options, clock=lambda: self.now)

    async def reconcile(self, name: str, *, after_s: float = 5.0) -> Manifest | None:
        """Reconciles a number once and returns the object as it is afterwards."""
        self.now += after_s
        manifest = await self.cluster.read("WhatsAppNumber", self.namespace, name)
        assert manifest is not None
        await self.reconciler.reconcile(manifest)
        return await self.cluster.read("WhatsAppNumber", self.namespace, name)


@asynccontextmanager
async def place(kubeconfig: Path, namespace: str, ids: list[str]) -> AsyncIterator[Place]:
    """Yields a place whose simulated Meta has numbers with these ids."""
    simulator = build()
    webhook = Starlette(routes=[Route("/{rest:path}", _echo)])
    calls = KubernetesCalls(await connection.client(kubeconfig))
    cluster = KubernetesCluster(calls, ObjectCache(), release_namespace=namespace, namespaces=[namespace])
    transport = httpx.ASGITransport(simulator)
    async with simulator.router.lifespan_context(simulator), GraphClient("http://g", "v26.0", transport=transport) as g:
        simulation = simulator.state.simulation
        # The client that the simulator makes for itself would look for the webhook on the network.
        simulation.delivery_sender._client = httpx.AsyncClient(transport=httpx.ASGITransport(webhook))
        async with httpx.AsyncClient(transport=transport, base_url="http://g") as control:
            phones = [{"phone_number_id": each, "display_phone_number": f"+1 555 {each[-7:]}"} for each in ids]
            world = {
                "apps": [{"app_id": APP, "app_secret": SECRET}],
                "accounts": [{"waba_id": WABA, "numbers": phones}],
                "tokens": [{"token": TOKEN, "app_id": APP}],
            }
            (await control.put("/_sim/world", json=world)).raise_for_status()
        try:
            yield Place(namespace, cluster, simulation, g)
        finally:
            await cluster.close()


async def _echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.query_params["hub.challenge"])


def run(kubeconfig: Path, namespace: str, ids: list[str], story: Callable[[Place], Awaitable[None]]) -> None:
    """Runs a test's coroutine on a new event loop."""

    async def in_place() -> None:
        async with place(kubeconfig, namespace, ids) as made:
            await story(made)

    asyncio.run(in_place())


@pytest.fixture
def phone_number_id() -> str:
    """Returns an id that no other test claims."""
    return str(uuid.uuid4().int)[:15]


@pytest.fixture
def credentials(api: client.ApiClient, namespace: str) -> None:
    """Creates the team's Secret."""
    values = {"appId": APP, "appSecret": SECRET, "accessToken": TOKEN}
    client.CoreV1Api(api).create_namespaced_secret(
        namespace,
        untyped(
            {
                "metadata": {"name": "meta", "labels": {"waypost.dev/credentials": "true"}},
                "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
            }
        ),
    )


def declare(api: client.ApiClient, namespace: str, name: str, phone_number_id: str, **spec: Any) -> None:
    """Creates a WhatsAppNumber."""
    given = {"phoneNumberId": phone_number_id, "wabaId": WABA, "credentialsRef": {"name": "meta"}} | spec
    body = {"apiVersion": "waypost.dev/v1alpha1", "kind": "WhatsAppNumber", "metadata": {"name": name}, "spec": given}
    client.CustomObjectsApi(api).create_namespaced_custom_object(*GROUP, namespace, "whatsappnumbers", body)


def entries(api: client.ApiClient, namespace: str) -> set[str]:
    """Returns the keys of all registry Secrets."""
    found = client.CoreV1Api(api).list_namespaced_secret(namespace, label_selector="waypost.dev/registry")
    return {key for each in found.items for key in each.data or {}}


def test_a_number_becomes_ready_and_is_not_written_again(
    kubeconfig: Path, api: client.ApiClient, namespace: str, phone_number_id: str, credentials: None
) -> None:
    """A number becomes ready and is not written again.

    After ten resyncs, the object and every Secret still have the versions of the first reconcile.
    """
    declare(api, namespace, "support", phone_number_id)

    async def story(it: Place) -> None:
        made = await it.reconcile("support")
        assert made is not None
        ready = find(made["status"], "Ready") or {}
        assert (ready["status"], ready["reason"]) == ("True", "AsDesired"), made["status"]
        versions = _versions(api, namespace)
        for _ in range(10):
            again = await it.reconcile("support", after_s=300.0)
            assert again is not None
            assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        assert _versions(api, namespace) == versions

    run(kubeconfig, namespace, [phone_number_id], story)
    assert entries(api, namespace) == {f"{namespace}.support.json"}


def test_numbers_do_not_affect_each_other_and_leave_nothing_behind(
    kubeconfig: Path, api: client.ApiClient, namespace: str, phone_number_id: str, credentials: None
) -> None:
    """Numbers do not affect each other, and a deleted number leaves nothing behind.

    Here, thirty numbers share the registry's Secrets, and one of the numbers is deleted.
    """
    ids = [f"{phone_number_id[:12]}{each:03d}" for each in range(30)]
    for each, id_ in enumerate(ids):
        declare(api, namespace, f"n{each}", id_, deletionPolicy="Delete")

    async def story(it: Place) -> None:
        await asyncio.gather(*(it.reconcile(f"n{each}") for each in range(30)))
        for each in range(30):
            made = await it.reconcile(f"n{each}", after_s=30.0)
            assert made is not None
            assert (find(made["status"], "Ready") or {})["status"] == "True", made["status"]
        client.CustomObjectsApi(api).delete_namespaced_custom_object(*GROUP, namespace, "whatsappnumbers", "n7")
        assert await it.reconcile("n7") is None
        assert it.simulation.world.numbers[ids[7]].callbacks == {}

    run(kubeconfig, namespace, ids, story)
    assert entries(api, namespace) == {f"{namespace}.n{each}.json" for each in range(30) if each != 7}


def _versions(api: client.ApiClient, namespace: str) -> dict[str, str]:
    found = untyped(client.CoreV1Api(api).list_namespaced_secret(namespace))
    return {each.metadata.name: each.metadata.resource_version for each in found.items}
