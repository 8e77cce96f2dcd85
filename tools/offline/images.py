"""Makes images from Debian's packages if no image can be pulled.

The images are those of the node, the servers and the collector, and the base of our image.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.machine import BINARIES, print_step, run, succeeds
from tools.offline import node
from tools.offline.recipes import (
    ALL,
    APP_BASE,
    APP_PACKAGES,
    COLLECTOR,
    COLLECTOR_DOCKERFILE,
    DEBIAN,
    NODE_BASE,
    NODE_IMAGE,
    NODE_PACKAGES,
    SERVER_PACKAGES,
    SERVERS,
    SERVERS_BASE,
    SERVERS_DOCKERFILE,
)

MINUTES = {NODE_BASE: 0.8, NODE_IMAGE: 1.0, APP_BASE: 0.4, SERVERS_BASE: 0.7, SERVERS: 0.1, COLLECTOR: 0.1}
"""How long each image takes on two cores once the programs are built."""


def missing() -> list[str]:
    """Returns the images to make, in build order. Returns all images if no Docker engine answers."""
    return [image for image in ALL if not succeeds("docker", "image", "inspect", image)]


def estimate_minutes(images: list[str]) -> float:
    """Returns how many minutes these images take to make on two cores."""
    return sum(MINUTES[image] for image in images)


def build(images: list[str]) -> None:
    """Makes these images, and removes outdated ones. Raises `StepFailed`."""
    builders: dict[str, Callable[[], object]] = {
        NODE_BASE: lambda: build_from_packages(NODE_BASE, NODE_PACKAGES),
        NODE_IMAGE: node.build,
        APP_BASE: lambda: build_from_packages(APP_BASE, APP_PACKAGES),
        SERVERS_BASE: lambda: build_from_packages(SERVERS_BASE, SERVER_PACKAGES),
        SERVERS: lambda: run("docker", "build", "--quiet", "--tag", SERVERS, "-",
                             stdin=SERVERS_DOCKERFILE.format(base=SERVERS_BASE)),
        COLLECTOR: build_collector,
    }  # fmt: skip
    for number, image in enumerate(images, 1):
        print_step(f"building image {number} of {len(images)}: {image}")
        builders[image]()
    if images:
        for image in outdated(run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").splitlines()):
            # This fails for an image that a cluster still runs on; the next build removes it.
            succeeds("docker", "image", "rm", image)


def outdated(present: list[str]) -> list[str]:
    """Returns the images in `present` that are ours and were made from other inputs than the current ones."""
    ours = {image.partition(":")[0] for image in ALL}
    return [image for image in present if image.partition(":")[0] in ours and image not in ALL]


def build_collector() -> None:
    """Makes the image of the OpenTelemetry collector. Raises `StepFailed`."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy2(BINARIES / "collector", Path(folder) / "collector")
        (Path(folder) / "Dockerfile").write_text(COLLECTOR_DOCKERFILE)
        run("docker", "build", "--quiet", "--tag", COLLECTOR, folder)


def build_from_packages(tag: str, packages: str) -> None:
    """Makes an image of Debian with these packages. Raises `StepFailed`."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={packages}", DEBIAN, archive)
        run("docker", "import", archive, tag)
