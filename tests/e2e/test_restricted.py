"""Pods under the Pod Security Standard `restricted`, which the release's namespace enforces in all of these tests."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .installed import NAMESPACE, RELEASE, Installed, run

pytestmark = pytest.mark.timeout(600)

ENFORCE = "pod-security.kubernetes.io/enforce"
TOKEN_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"
LOOK = f"cat /proc/1/status /proc/1/mounts; test -e {TOKEN_FILE} && echo token || echo no token"


def test_every_pod_is_restricted_without_root_and_has_a_read_only_root(installed: Installed) -> None:
    """No process in a pod runs as root, has a capability, or can write to its image.

    Only the operator's pod has an API token.
    """
    assert installed.get("namespace", NAMESPACE)["metadata"]["labels"][ENFORCE] == "restricted"
    with_token = set()
    seen = set()
    for pod in installed.standing():
        if pod["status"]["phase"] != "Running" or "deletionTimestamp" in pod["metadata"]:
            continue
        name, component = pod["metadata"]["name"], pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for container in pod["spec"]["containers"]:
            output = installed.kubectl("exec", name, "--container", container["name"], "--", "sh", "-c", LOOK)
            lines = output.splitlines()
            users = next(line for line in lines if line.startswith("Uid:")).split()[1:]
            assert "0" not in users, (name, users)
            assert next(line for line in lines if line.startswith("CapEff:")).split()[1].strip("0") == "", name
            root = [line.split()[3] for line in lines if len(line.split()) == 6 and line.split()[1] == "/"]
            assert all("ro" in options.split(",") for options in root), (name, root)
            assert root, name
            seen.add(component)
            if lines[-1] == "token":
                with_token.add(component)
    assert {"webhook", "worker", "operator", "console", "simulator", "postgresql", "valkey"} <= seen
    assert with_token == {"operator"}


def test_helm_test_delivers_to_the_release_and_sees_the_effect(installed: Installed) -> None:
    """`helm test` runs a pod that the standard `restricted` admits.

    The pod does the handshake and a signed delivery, and sees that the event was handled.
    """
    webhooks = "app.kubernetes.io/component=webhook"
    with ThreadPoolExecutor(1) as pool:
        tested = pool.submit(run, "helm", "test", RELEASE, "--namespace", NAMESPACE, "--timeout", "300s")
        route = f"secret/{RELEASE}-test-route"
        installed.wait(
            lambda: tested.done() or route in installed.kubectl("get", "secrets", "--output=name").splitlines(),
            what=route,
        )
        # Kubelet updates the mount within two minutes; an annotation, as the operator sets it, makes that seconds.
        installed.kubectl(
            "annotate", "pods", f"--selector={webhooks}", "--overwrite", f"waypost.dev/test={time.time()}"
        )
        assert "Succeeded" in tested.result()
    log = installed.kubectl("logs", f"{RELEASE}-test")
    for step in ("handshake", "delivery", "handled"):
        assert step in log
