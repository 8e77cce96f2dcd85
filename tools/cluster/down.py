"""`make down`: the cluster, and the Docker engine if `make up` started it. What was built stays in the cache."""

import engine
from machine import CLUSTER, KUBECONFIG, run, step, works


def main() -> None:
    """See the module's text."""
    if works("docker", "info") and works("kind", "version") and CLUSTER in run("kind", "get", "clusters").split():
        step("deleting the cluster")
        run("kind", "delete", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG)
    engine.end()
    KUBECONFIG.unlink(missing_ok=True)
    step("down")


if __name__ == "__main__":
    main()
