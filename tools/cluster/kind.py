"""Creates and removes the cluster with kind, and finds the URLs that reach it from outside."""

import json
import time

from tools.machine import CLUSTER, KUBECONFIG, print_step, run, succeeds

ANSWER_TIMEOUT_S = 60
NODE = f"{CLUSTER}-control-plane"
"""The container that is the cluster's only node."""
NODE_PORTS = {"webhook": 30080, "simulator": 30082}
"""The services that are reached from outside of the cluster; kind maps each port to a free one on 127.0.0.1."""

# A busy disk makes etcd wait seconds for each write, until requests time out. A trial cluster that is lost with its
# machine is created again, so its etcd need not wait for the disk.
_ETCD = json.dumps(
    {
        "kind": "ClusterConfiguration",
        "etcd": {"local": {"extraArgs": {"unsafe-no-fsync": "true"}}},
    }
)


def cluster_names() -> list[str]:
    """Returns the names of all clusters on the Docker engine, or no names if no engine runs or kind is missing."""
    return run("kind", "get", "clusters").split() if succeeds("docker", "info") and succeeds("kind", "version") else []


def ensure_cluster(node_image: str) -> None:
    """Creates the cluster unless it exists and answers. An empty `node_image` means the default image of kind."""
    if CLUSTER in cluster_names():
        # The kubeconfig is exported again: the cluster may have been created with another cache folder.
        if succeeds("kind", "export", "kubeconfig", "--name", CLUSTER, "--kubeconfig", KUBECONFIG) and _answers():
            return
        print_step("the existing cluster does not answer")
        delete_cluster()
    print_step("creating the cluster")
    ports = [{"containerPort": port, "listenAddress": "127.0.0.1"} for port in NODE_PORTS.values()]
    cluster = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane", "extraPortMappings": ports, "kubeadmConfigPatches": [_ETCD]}],
    }
    image = ("--image", node_image) if node_image else ()
    run("kind", "create", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG, "--wait", "180s", *image,
        "--config", "-", stdin=json.dumps(cluster))  # fmt: skip


def uses_built_node_image() -> bool:
    """Returns whether the existing cluster was created without a registry, from images made on this machine."""
    return run("docker", "container", "inspect", "--format", "{{.Config.Image}}", NODE).startswith("waypost/")


def images_to_load(images: list[str]) -> list[str]:
    """Returns those of the given images that the node does not have. The images are compared by name.

    kind itself compares ids, but an engine may assign a new id to the same image.
    """
    present = run("docker", "exec", NODE, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet").split()
    return [image for image in images if not any(each.endswith(f"/{image}") for each in present)]


def outside_url(service: str) -> str:
    """Returns the URL at which this machine reaches a service of `NODE_PORTS`."""
    address = run("docker", "port", NODE, f"{NODE_PORTS[service]}/tcp").splitlines()[0]
    return f"http://{address}"


def delete_cluster() -> None:
    """Deletes the cluster if it exists. Deletes its kubeconfig in any case."""
    if CLUSTER in cluster_names():
        print_step("deleting the cluster")
        run("kind", "delete", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG)
    KUBECONFIG.unlink(missing_ok=True)


def _answers() -> bool:
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while not succeeds("kubectl", "get", "nodes", "--request-timeout=10s"):
        # A killed engine, or a reboot, leaves the node's container stopped: waiting would not help.
        if run("docker", "container", "inspect", "--format", "{{.State.Running}}", NODE) != "true":
            return False
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True
