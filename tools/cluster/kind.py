"""The cluster itself, by kind, and where it is reached from outside."""

import json
import time

from tools.machine import CLUSTER, KUBECONFIG, run, step, works

ANSWERS_WITHIN_S = 60
NODE = f"{CLUSTER}-control-plane"
"""The container that is the cluster's one node."""
NODE_PORTS = {"webhook": 30080, "simulator": 30082}
"""How both are reached from outside of the cluster: kind gives each a free port of this machine's loopback."""


def names() -> list[str]:
    """All clusters of the engine, if one runs."""
    return run("kind", "get", "clusters").split() if works("docker", "info") and works("kind", "version") else []


def ensure(node: str) -> None:
    """A cluster, unless it is there; `node` is its image, or empty for kind's own choice."""
    if CLUSTER in names():
        # It may have been made with another cache.
        if works("kind", "export", "kubeconfig", "--name", CLUSTER, "--kubeconfig", KUBECONFIG) and _answers():
            return
        step("the cluster that is there does not answer")
        remove()
    step("creating the cluster")
    ports = [{"containerPort": port, "listenAddress": "127.0.0.1"} for port in NODE_PORTS.values()]
    wanted = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane", "extraPortMappings": ports}],
    }
    image = ("--image", node) if node else ()
    run("kind", "create", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG, "--wait", "180s", *image,
        "--config", "-", stdin=json.dumps(wanted))  # fmt: skip


def runs_on_images_made_here() -> bool:
    """Whether the cluster that is there was made where no image could be pulled."""
    return run("docker", "container", "inspect", "--format", "{{.Config.Image}}", NODE).startswith("waypost/")


def lacking(images: list[str]) -> list[str]:
    """Those of them that the node has not got, by their names; kind itself compares what an engine may number anew."""
    there = run("docker", "exec", NODE, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet").split()
    return [image for image in images if not any(each.endswith(f"/{image}") for each in there)]


def _answers() -> bool:
    """At once where its node is down, which an engine that was killed leaves so, or this machine's last end."""
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while not works("kubectl", "get", "nodes", "--request-timeout=10s"):
        if run("docker", "container", "inspect", "--format", "{{.State.Running}}", NODE) != "true":
            return False
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def outside(service: str) -> str:
    """URL by which a service of `NODE_PORTS` is reached from this machine."""
    address = run("docker", "port", NODE, f"{NODE_PORTS[service]}/tcp").splitlines()[0]
    return f"http://{address}"


def remove() -> None:
    """The cluster, if it is there."""
    if CLUSTER in names():
        step("deleting the cluster")
        run("kind", "delete", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG)
    KUBECONFIG.unlink(missing_ok=True)
