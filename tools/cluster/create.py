"""`make cluster`: creates an empty kind cluster on this machine, with everything that the cluster needs.

The program uses the Docker engine that runs and the images that the engine can pull. If there is no engine or
no registry, the system must be Debian and the user must be root. The program then starts an engine, builds
Kubernetes from source and makes images from Debian's packages. This is slow the first time. Afterwards the
results are cached. The program needs only Python's standard library, so it can run while the environment is
made.
"""

import os

from tools.cluster import kind, release
from tools.machine import CLUSTER, StepFailed, fail, lock_cache, print_step, succeeds
from tools.offline import binaries, engine, images
from tools.offline.recipes import NODE_IMAGE


def main() -> None:
    """Creates the cluster. On failure, ends the process with one message."""
    try:
        lock_cache()
        ensure_cluster()
        print_step("the cluster is ready")
    except StepFailed as failure:
        fail(str(failure))


def ensure_cluster() -> bool:
    """Creates the cluster unless it exists. Raises `StepFailed`.

    Returns whether the images of the cluster are made on this machine.
    """
    offline = kind.uses_built_node_image() if CLUSTER in kind.cluster_names() else not can_pull_images()
    programs = binaries.missing_for_cluster(offline=offline)
    missing_images: list[str] = []
    if offline:
        # The engine knows which images exist, and takes only seconds to build and start. With it, the next message
        # can say how long everything else takes.
        engine.install_packages()
        binaries.build([name for name in programs if name == "bounded-runtime"])
        programs = binaries.missing_for_cluster(offline=offline)
        engine.ensure_running()
        missing_images = images.missing()
    if programs or missing_images:
        minutes = binaries.estimate_minutes(programs) + images.estimate_minutes(missing_images)
        print_step(
            f"{len(programs)} programs and {len(missing_images)} images must be built first, once: "
            f"about {minutes:.0f} min on two cores"
        )
    binaries.build(programs)
    images.build(missing_images)
    node_image = NODE_IMAGE if offline else os.environ.get("KIND_NODE_IMAGE", "")
    kind.ensure_cluster(node_image)
    return offline


def can_pull_images() -> bool:
    """Returns whether a running Docker engine has the image on which our image is based, or can pull it."""
    # Our engine only runs where there was no other; a cluster that was begun offline stays offline.
    if engine.is_ours() or os.environ.get("KIND_NODE_IMAGE", "").startswith("waypost/"):
        return False
    base = release.OFFICIAL_BASE
    return succeeds("docker", "info") and (
        succeeds("docker", "image", "inspect", base) or succeeds("docker", "pull", "--quiet", base)
    )


if __name__ == "__main__":
    main()
