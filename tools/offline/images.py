"""Images made from Debian's packages, where none can be pulled: the node, the base of ours, PostgreSQL and Redis."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.machine import BINARIES, run, step, works
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
"""On two cores, with the programs built."""


def missing() -> list[str]:
    """What is to be made, in that order; all of it where no engine answers."""
    return [image for image in ALL if not works("docker", "image", "inspect", image)]


def minutes(images: list[str]) -> float:
    """How long these take to make."""
    return sum(MINUTES[image] for image in images)


def build(images: list[str]) -> None:
    """Make these of `ALL`, and remove what earlier ones are left. Raises `StepFailed`."""
    ways: dict[str, Callable[[], object]] = {
        NODE_BASE: lambda: debian(NODE_BASE, NODE_PACKAGES),
        NODE_IMAGE: node.build,
        APP_BASE: lambda: debian(APP_BASE, APP_PACKAGES),
        SERVERS_BASE: lambda: debian(SERVERS_BASE, SERVER_PACKAGES),
        SERVERS: lambda: run("docker", "build", "--quiet", "--tag", SERVERS, "-",
                             stdin=SERVERS_DOCKERFILE.format(base=SERVERS_BASE)),
        COLLECTOR: collector,
    }  # fmt: skip
    for number, image in enumerate(images, 1):
        step(f"image {number} of {len(images)}: {image}")
        ways[image]()
    if images:
        for image in superseded(run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").splitlines()):
            # One that a cluster still runs on stays until the next time.
            works("docker", "image", "rm", image)


def superseded(present: list[str]) -> list[str]:
    """Those of our images that were made of something else than what they would be made of today."""
    ours = {image.partition(":")[0] for image in ALL}
    return [image for image in present if image.partition(":")[0] in ours and image not in ALL]


def collector() -> None:
    """The OpenTelemetry collector."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy2(BINARIES / "collector", Path(folder) / "collector")
        (Path(folder) / "Dockerfile").write_text(COLLECTOR_DOCKERFILE)
        run("docker", "build", "--quiet", "--tag", COLLECTOR, folder)


def debian(tag: str, packages: str) -> None:
    """An image of Debian with these packages."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={packages}", DEBIAN, archive)
        run("docker", "import", archive, tag)
