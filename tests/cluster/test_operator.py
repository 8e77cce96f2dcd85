"""Runs the operator's calls and its process on a real API server.

These tests cover behaviour that only a real server shows.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, utils

from waypost.operator.cluster import connection
from waypost.operator.cluster.api_calls import KubernetesCalls
from waypost.operator.cluster.interface import ClusterConflict, ClusterRefused, Manifest
from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.engine.object_cache import ObjectCache

from ..untyped import untyped
from .conftest import end, until

pytestmark = pytest.mark.cluster

GROUP = ("waypost.dev", "v1alpha1")


def number(namespace: str, name: str = "support", **spec: Any) -> Manifest:
    """Returns a WhatsAppNumber whose Secret does not exist."""
    given = {"phoneNumberId": "106540352242922", "wabaId": "102290129340398", "credentialsRef": {"name": "meta"}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "waypost.dev/v1alpha1", "kind": "WhatsAppNumber", "metadata": metadata, "spec": given | spec}


class Cluster:
    """The operator's cluster. Each call runs on a new event loop."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._kubeconfig, self._namespace = kubeconfig, namespace

    def do(self, work: Callable[[KubernetesCluster], Any]) -> Any:
        async def done() -> Any:
            calls = KubernetesCalls(await connection.client(self._kubeconfig))
            where = self._namespace
            cluster = KubernetesCluster(calls, ObjectCache(), release_namespace=where, namespaces=[where])
            try:
                return await work(cluster)
            finally:
                await cluster.close()

        return asyncio.run(done())


@pytest.fixture
def cluster(kubeconfig: Path, namespace: str) -> Cluster:
    """Returns the operator's cluster, whose only namespace is the test's."""
    return Cluster(kubeconfig, namespace)


@pytest.fixture
def objects(api: client.ApiClient) -> client.CustomObjectsApi:
    """Returns a client for objects of our kinds."""
    return client.CustomObjectsApi(api)


def test_each_manager_owns_only_its_keys(cluster: Cluster, namespace: str) -> None:
    """Each manager owns only its own keys of a shared Secret.

    Numbers share the registry's Secrets. No number removes another number's key, and each can remove its own.
    """
    shared = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": namespace}}

    async def applied(calls: KubernetesCluster) -> object:
        await calls.apply({**shared, "data": {"one.json": "MQ=="}}, manager="waypost-number-1")
        await calls.apply({**shared, "data": {"two.json": "Mg=="}}, manager="waypost-number-2")
        await calls.apply(shared, manager="waypost-number-1")
        return await calls.secret(namespace, "registry")

    assert cluster.do(applied).data == {"two.json": b"2"}


def test_an_apply_without_a_change_writes_nothing(cluster: Cluster, namespace: str) -> None:
    """An apply without a change writes nothing.

    A resync applies everything again. The resource version stays the same, so no watch gets an event.
    """
    shared = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": namespace}}

    async def applied(calls: KubernetesCluster) -> list[str]:
        made = [await calls.apply({**shared, "data": {"one.json": "MQ=="}}, manager="waypost-number-1") for _ in "ab"]
        return [each["metadata"]["resourceVersion"] for each in made]

    first, second = cluster.do(applied)
    assert first == second


def test_an_apply_with_a_version_fails_at_any_other_version(cluster: Cluster, namespace: str) -> None:
    """An apply with a version fails at any other version, even with force.

    If two writers read the same version, only one of them writes. A deleted object is created again.
    """

    def record(version: str, text: str) -> Manifest:
        metadata = {"name": "record", "namespace": namespace, "resourceVersion": version}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"record": text}}

    async def applied(calls: KubernetesCluster) -> object:
        made = await calls.create(record("", "zero"))
        version = made["metadata"]["resourceVersion"]
        await calls.apply(record(version, "one"), manager="waypost-operator")
        with pytest.raises(ClusterConflict):
            await calls.apply(record(version, "two"), manager="waypost-operator")
        found = [await calls.config_map(namespace, "record")]
        await calls.delete("ConfigMap", namespace, "record")
        await calls.apply(record(version, "two"), manager="waypost-operator")
        return [*found, await calls.config_map(namespace, "record")]

    assert [each.data for each in cluster.do(applied)] == [{"record": b"one"}, {"record": b"two"}]


def test_a_drifted_field_is_restored(cluster: Cluster, api: client.ApiClient, namespace: str) -> None:
    """If another client edits a field that we own, the next apply restores the field."""
    shared = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": namespace}}
    wanted = {**shared, "data": {"one.json": "MQ=="}}
    cluster.do(lambda calls: calls.apply(wanted, manager="waypost-number-1"))
    client.CoreV1Api(api).patch_namespaced_secret("registry", namespace, {"data": {"one.json": "Mg=="}})
    cluster.do(lambda calls: calls.apply(wanted, manager="waypost-number-1"))
    assert client.CoreV1Api(api).read_namespaced_secret("registry", namespace).data == {"one.json": "MQ=="}


def test_a_status_is_written_separately_from_the_spec(
    cluster: Cluster, objects: client.CustomObjectsApi, namespace: str
) -> None:
    """A status is written separately from the spec.

    Writing it does not raise the generation. An outdated status does not overwrite a newer object.
    """
    made: Manifest = untyped(
        objects.create_namespaced_custom_object(*GROUP, namespace, "whatsappnumbers", number(namespace))
    )
    written = cluster.do(lambda calls: calls.write_status(made, {"failureCount": 1, "observedGeneration": 1}))
    assert written["metadata"]["generation"] == 1
    assert written["status"]["failureCount"] == 1
    with pytest.raises(ClusterConflict):
        cluster.do(lambda calls: calls.write_status(made, {"failureCount": 2}))


def test_a_condition_that_the_new_status_lacks_is_removed(
    cluster: Cluster, objects: client.CustomObjectsApi, namespace: str
) -> None:
    """A condition that is missing in the new status is removed.

    A status is replaced as a whole, although its conditions are a list with a key.
    """
    made: Manifest = untyped(
        objects.create_namespaced_custom_object(*GROUP, namespace, "whatsappnumbers", number(namespace))
    )

    def condition(name: str) -> Manifest:
        moment = "2026-01-01T00:00:00Z"
        return {"type": name, "status": "True", "reason": "Test", "lastTransitionTime": moment}

    async def written(calls: KubernetesCluster) -> Manifest:
        first = await calls.write_status(made, {"conditions": [condition("Ready"), condition("Stalled")]})
        return await calls.write_status(first, {"conditions": [condition("Ready")]})

    assert [each["type"] for each in cluster.do(written)["status"]["conditions"]] == ["Ready"]


def test_a_finalizer_holds_an_object_until_it_is_removed(
    cluster: Cluster, objects: client.CustomObjectsApi, namespace: str
) -> None:
    """An object with a finalizer stays until the finalizer is removed.

    The operator sets and removes the finalizer with a merge patch. The patch contains the resource version that
    the operator has read.
    """
    made: Manifest = untyped(
        objects.create_namespaced_custom_object(*GROUP, namespace, "whatsappnumbers", number(namespace))
    )
    cluster.do(lambda calls: calls.write_metadata(made, {"finalizers": ["waypost.dev/number"]}))
    objects.delete_namespaced_custom_object(*GROUP, namespace, "whatsappnumbers", "support")
    held = cluster.do(lambda calls: calls.read("WhatsAppNumber", namespace, "support"))
    assert held["metadata"]["deletionTimestamp"]
    cluster.do(lambda calls: calls.write_metadata(held, {"finalizers": []}))
    assert cluster.do(lambda calls: calls.read("WhatsAppNumber", namespace, "support")) is None


def test_an_event_is_accepted(cluster: Cluster, api: client.ApiClient, namespace: str) -> None:
    """The API server accepts our Event, which must have certain fields. `kubectl describe` then shows the Event."""
    about = {**number(namespace), "metadata": {"name": "support", "namespace": namespace, "uid": "1-2-3"}}
    cluster.do(lambda calls: calls.emit(about, type="Warning", reason="TokenExpiring", message="Three days left."))
    (event,) = client.CoreV1Api(api).list_namespaced_event(namespace).items
    assert (event.reason, event.involved_object.name, event.type) == ("TokenExpiring", "support", "Warning")


def test_a_refusal_quotes_the_api_server(cluster: Cluster, namespace: str) -> None:
    """If the API server refuses an object, the error quotes the server's message.

    The message of a CEL rule thereby reaches the person who reads the condition.
    """
    bad = number(namespace, phoneNumberId="abc")
    with pytest.raises(ClusterRefused, match="must be an id at Meta"):
        cluster.do(lambda calls: calls.apply(bad, manager="test"))


@dataclass
class Running:
    """`waypost operator` as a process, with only the permissions that the chart grants."""

    process: "subprocess.Popen[bytes]"
    log: Path
    probe: int

    def lines(self) -> list[dict[str, Any]]:
        """Returns the log lines of the process."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def probes(self, path: str) -> tuple[int, str]:
        """Returns the status and the body of a probe's answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probe}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def start_operator(
    api: client.ApiClient, kubeconfig: Path, namespace: str, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Callable[..., Running]]:
    """Yields a function that starts an operator as the chart's service account.

    The operator calls the Graph API on a port where nothing listens.
    """
    started: list[Running] = []

    def start(**environment: str) -> Running:
        probe = free_port()
        log = tmp_path / f"operator-{len(started)}.log"
        own = {
            "WAYPOST_RELEASE_NAMESPACE": namespace,
            "WAYPOST_PUBLIC_URL": "https://hooks.example.org",
            "WAYPOST_JOB_IMAGE": "waypost:test",
            "WAYPOST_GRAPH_URL": f"http://127.0.0.1:{free_port()}",
            "WAYPOST_PROBE_PORT": str(probe),
            "WAYPOST_HOST": "127.0.0.1",
            "WAYPOST_KUBECONFIG": str(_as_service_account(api, kubeconfig, namespace, tmp_path)),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "waypost.cli", "operator"],
                env={**os.environ, **own, **environment},
                stdout=output,
                stderr=output,
            )
        started.append(Running(process, log, probe))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait(30)


def _as_service_account(api: client.ApiClient, kubeconfig: Path, namespace: str, folder: Path) -> Path:
    requested = client.CoreV1Api(api).create_namespaced_service_account_token(
        "waypost-operator", namespace, untyped({"spec": {"expirationSeconds": 3600}})
    )
    content = yaml.safe_load(kubeconfig.read_text())
    content["users"] = [{"name": content["users"][0]["name"], "user": {"token": untyped(requested.status).token}}]
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(params=["cluster", "namespaced"])
def permissions(
    request: pytest.FixtureRequest, api: client.ApiClient, namespace: str, pytestconfig: pytest.Config
) -> Iterator[dict[str, str]]:
    """Installs the chart's RBAC for a mode and yields the operator's settings for this mode."""
    binaries = os.environ.get("WAYPOST_TEST_KUBEBIN", "")
    helm = shutil.which("helm") or shutil.which("helm", path=binaries)
    if helm is None:
        pytest.skip("needs helm, to render the chart's RBAC")
    chart = pytestconfig.rootpath / "charts/waypost"
    command: list[str | Path] = [helm, "template", "waypost", chart]
    command += ["--namespace", namespace, "--kube-version", "v1.34.0"]
    command += ["--values", chart / "ci/trial-values.yaml", "--set", "fullnameOverride=waypost"]
    command += ["--show-only", "templates/rbac.yaml", "--show-only", "templates/accounts.yaml"]
    if request.param == "namespaced":
        command += ["--set", f"operator.namespaces={{{namespace}-team}}", "--set", "rbac.aggregate=false"]
    rendered = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    core = client.CoreV1Api(api)
    core.create_namespace(untyped({"metadata": {"name": f"{namespace}-team"}}))
    manifests = [each for each in yaml.safe_load_all(rendered) if each]
    for each in manifests:
        each["metadata"].setdefault("namespace", namespace)
        untyped(utils).create_from_dict(api, each)
    yield {"WAYPOST_NAMESPACES": f"{namespace}-team" if request.param == "namespaced" else ""}
    rules = client.RbacAuthorizationV1Api(api)
    for each in manifests:
        if each["kind"] == "ClusterRole":
            rules.delete_cluster_role(each["metadata"]["name"])
        elif each["kind"] == "ClusterRoleBinding":
            rules.delete_cluster_role_binding(each["metadata"]["name"])
    end(api, f"{namespace}-team")


def test_the_charts_permissions_suffice_and_the_process_ends_in_order(
    permissions: dict[str, str],
    start_operator: Callable[..., Running],
    objects: client.CustomObjectsApi,
    api: client.ApiClient,
    namespace: str,
) -> None:
    """The chart's permissions suffice in both modes, and the process ends without an error.

    The API server refuses nothing from the start of the process to its end. In between, the operator reconciles
    and deletes a number.
    """
    running = start_operator(**permissions, WAYPOST_OPERATOR_REPLICAS="2")
    team, core = f"{namespace}-team", client.CoreV1Api(api)
    labels = {"waypost.dev/credentials": "true"}
    token = base64.b64encode(b"canary-token-5e1f").decode()
    data = {"appId": base64.b64encode(b"100000000000001").decode(), "appSecret": token, "accessToken": token}
    core.create_namespaced_secret(team, untyped({"metadata": {"name": "meta", "labels": labels}, "data": data}))
    objects.create_namespaced_custom_object(*GROUP, team, "whatsappnumbers", number(team))

    def conditions() -> Any:
        found: Any = objects.get_namespaced_custom_object(*GROUP, team, "whatsappnumbers", "support")
        return {each["type"]: each for each in found.get("status", {}).get("conditions", [])}

    until(lambda: running.process.poll() is not None or "Ready" in conditions())
    assert running.process.poll() is None, running.log.read_text()
    until(lambda: running.probes("/healthz")[0] == running.probes("/readyz")[0] == 200)
    until(lambda: "CredentialsValid" in conditions())
    objects.patch_namespaced_custom_object(
        *GROUP,
        team,
        "whatsappnumbers",
        "support",
        {"metadata": {"annotations": {"waypost.dev/abandon": "true"}}},
    )
    objects.delete_namespaced_custom_object(*GROUP, team, "whatsappnumbers", "support")
    until(lambda: not untyped(objects.list_namespaced_custom_object(*GROUP, team, "whatsappnumbers"))["items"])
    metrics = running.probes("/metrics")[1]
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    refused = [line for line in metrics.splitlines() if re.search(r'_count.*result="(Forbidden|Invalid)"', line)]
    assert refused == []
    errors = [line for line in running.lines() if line["level"] in {"error", "critical"}]
    assert errors == []
    assert "canary-token-5e1f" not in running.log.read_text()
    lease = client.CoordinationV1Api(api).read_namespaced_lease("waypost-operator", namespace)
    assert untyped(lease.spec).holder_identity == "", "it releases its lease"


def test_without_permissions_it_waits_and_the_probe_names_what_is_missing(
    start_operator: Callable[..., Running], api: client.ApiClient, namespace: str
) -> None:
    """Without permissions, the operator waits, and its probe names what is missing.

    A missing Role causes no crash loop.
    """
    client.CoreV1Api(api).create_namespaced_service_account(
        namespace, untyped({"metadata": {"name": "waypost-operator"}})
    )
    running = start_operator()
    until(lambda: running.process.poll() is not None or "whatsappnumbers" in _reason(running))
    assert running.process.poll() is None, running.log.read_text()
    assert running.probes("/healthz")[0] == 200


def _reason(running: Running) -> str:
    try:
        status, body = running.probes("/readyz")
    except OSError:
        return ""
    return body if status == 503 else ""
