"""Images made from Debian's packages, where none can be pulled: the node, the base of ours, PostgreSQL and Redis."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import APP_BASE, BINARIES, COLLECTOR, NODE_IMAGE, REPOSITORY, SERVERS, environment, run, step, works


def build() -> str:
    """Node, base and servers from Debian's packages. Returns the node's image."""
    subprocess.run(
        [sys.executable, REPOSITORY / "tools/node-image/build.py", "--binaries", BINARIES, "--tag", NODE_IMAGE],
        env=environment(), check=True,
    )  # fmt: skip
    debian(APP_BASE, "python3,python3-venv,ca-certificates,tzdata")
    if not works("docker", "image", "inspect", SERVERS):
        debian("waypost/servers:packages", "postgresql-15,redis-server")
        # The chart runs them as 999, and PostgreSQL wants its user to have a name.
        dockerfile = "FROM waypost/servers:packages\nRUN useradd --system --no-create-home --uid 999 server\n"
        run("docker", "build", "--quiet", "--tag", SERVERS, "-", stdin=dockerfile)
    collector()
    return NODE_IMAGE


def collector() -> None:
    """The OpenTelemetry collector."""
    if works("docker", "image", "inspect", COLLECTOR):
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy2(BINARIES / "collector", Path(folder) / "collector")
        (Path(folder) / "Dockerfile").write_text('FROM scratch\nCOPY collector /collector\nENTRYPOINT ["/collector"]\n')
        run("docker", "build", "--quiet", "--tag", COLLECTOR, folder)


def debian(tag: str, packages: str) -> None:
    """An image of Debian with these packages."""
    if works("docker", "image", "inspect", tag):
        return
    step(f"image {tag} from Debian's packages")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", archive)
        run("docker", "import", archive, tag)
