"""Fixtures for tests on a real API server.

WAYPOST_TEST_KUBECONFIG names the API server. If it is not set, etcd and kube-apiserver are started from the
folder WAYPOST_TEST_KUBEBIN. If neither variable is set, these tests are skipped. The tests need only the API
server. Nodes and controllers are not needed, but do no harm. If the tests were given a cluster, they leave
nothing behind on it.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException, NotFoundException

from waypost.dev.ports import free_port
from waypost.operator.api.crd import KINDS, crd
from waypost.operator.api.number_models import GROUP, VERSION

from ..chart.rendered import NAMESPACE, tool
from ..untyped import untyped

DEADLINE_S = 300.0
DEFINITIONS = {f"{kind.plural}.{GROUP}": crd(kind) for kind in KINDS}


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """Yields the kubeconfig of an API server on which a test may do everything."""
    if given := os.environ.get("WAYPOST_TEST_KUBECONFIG"):
        yield Path(given)
        return
    if not (binaries := os.environ.get("WAYPOST_TEST_KUBEBIN")):
        pytest.skip("neither WAYPOST_TEST_KUBECONFIG nor WAYPOST_TEST_KUBEBIN is set")
    folder = Path(tempfile.mkdtemp(prefix="wp-kube-"))
    with _api_server(Path(binaries), folder) as found:
        yield found
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Iterator[client.ApiClient]:
    """Yields a client of the API server. Both CRDs are installed and served."""
    with untyped(config).new_client_from_config(str(kubeconfig)) as made:
        extensions = client.ApiextensionsV1Api(made)
        ours = [name for name, body in DEFINITIONS.items() if _install(extensions, name, body)]
        until(lambda: all(_is_served(extensions, name) for name in DEFINITIONS))
        yield made
        # Helm refuses to install the chart on this cluster if it finds definitions that it does not own.
        for name in ours:
            extensions.delete_custom_resource_definition(name)
        until(lambda: not {each.metadata.name for each in _definitions(extensions)} & set(ours))


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """Yields a namespace that only this test uses."""
    name = f"wp-{uuid.uuid4().hex[:10]}"
    core = client.CoreV1Api(api)
    core.create_namespace(untyped({"metadata": {"name": name}}))
    yield name
    end(api, name)


@pytest.fixture(scope="session")
def chart_namespaces(api: client.ApiClient) -> Iterator[tuple[str, ...]]:
    """Yields the chart's namespace and the namespaces of two teams.

    The namespaces enforce the restricted Pod Security Standard and warn of what violates it. All tests share
    them, because a name can be used again only when its namespace is gone.
    """
    names = (NAMESPACE, "team-a", "team-b")
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    for name in names:
        client.CoreV1Api(api).create_namespace(untyped({"metadata": {"name": name, "labels": labels}}))
    yield names
    for name in names:
        end(api, name)


def end(api: client.ApiClient, namespace: str) -> None:
    """Deletes a namespace and our objects in it.

    The function removes the finalizers of the objects, because no operator runs that would remove them.
    """
    objects = client.CustomObjectsApi(api)
    for kind in KINDS:
        where = (GROUP, VERSION, namespace, kind.plural)
        objects.delete_collection_namespaced_custom_object(*where)
        for each in untyped(objects.list_namespaced_custom_object(*where))["items"]:
            with contextlib.suppress(NotFoundException):  # the namespace's own deletion may be faster
                objects.patch_namespaced_custom_object(
                    *where, each["metadata"]["name"], {"metadata": {"finalizers": None}}
                )
    client.CoreV1Api(api).delete_namespace(namespace)


def kubectl(kubeconfig: Path, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs kubectl, asserts that it succeeds, and returns the completed process with its output."""
    program = tool("kubectl")
    assert program is not None
    done = subprocess.run(
        [program, "--kubeconfig", str(kubeconfig), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def until(condition: Callable[[], object]) -> None:
    """Waits for a condition that the API server will make true."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"the API server did not make the condition true within {DEADLINE_S:.0f} s")
        time.sleep(0.1)


def _install(extensions: client.ApiextensionsV1Api, name: str, body: dict[str, Any]) -> bool:
    """Creates a definition, or updates the spec of one that exists. Returns whether it was created."""
    try:
        extensions.create_custom_resource_definition(untyped(body))
    except ApiException as error:
        if error.status != 409:
            raise
        extensions.patch_custom_resource_definition(name, {"spec": body["spec"]})
        return False
    return True


def _definitions(extensions: client.ApiextensionsV1Api) -> list[Any]:
    found: list[Any] = extensions.list_custom_resource_definition().items
    return found


def _is_served(extensions: client.ApiextensionsV1Api, name: str) -> bool:
    found = extensions.read_custom_resource_definition(name).status
    return any(each.type == "Established" and each.status == "True" for each in (found and found.conditions) or ())


@contextmanager
def _api_server(binaries: Path, folder: Path) -> Iterator[Path]:
    peer, store, port = (free_port() for _ in range(3))
    subprocess.run(
        ["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True, timeout=60
    )
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    etcd = _start(
        folder,
        binaries / "etcd",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{store}",
        f"--advertise-client-urls=http://127.0.0.1:{store}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    )
    server = _start(
        folder,
        binaries / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        f"--service-account-key-file={folder / 'accounts.key'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
    )
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {
                            "server": f"https://127.0.0.1:{port}",
                            "certificate-authority": str(folder / "certificates" / "apiserver.crt"),
                        },
                    }
                ],
                "users": [{"name": "admin", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                "current-context": "test",
            }
        )
    )
    try:
        until(lambda: _is_ready(server, folder, kubeconfig))
        yield kubeconfig
    finally:
        for process in (server, etcd):
            # An orderly end would wait a minute for open watches, and nothing of this server is used again.
            process.kill()
            process.wait(30)


def _start(folder: Path, program: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    with (folder / f"{program.name}.log").open("wb") as log:
        return subprocess.Popen([program, *arguments], stdout=log, stderr=log)


def _is_ready(server: "subprocess.Popen[bytes]", folder: Path, kubeconfig: Path) -> bool:
    if server.poll() is not None:
        output = (folder / "kube-apiserver.log").read_text()[-2000:]
        raise AssertionError(f"the API server ended: {output}")
    if not (folder / "certificates" / "apiserver.crt").exists():
        return False
    try:
        with untyped(config).new_client_from_config(str(kubeconfig)) as made:
            client.CoreV1Api(made).read_namespace("default")
    except Exception:  # noqa: BLE001 - whatever is wrong before it is ready, the deadline ends it
        return False
    return True
