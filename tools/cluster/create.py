"""`make cluster`: a kind cluster of this machine with nothing on it, and all that it takes to make one.

Takes a Docker engine that runs and images that can be pulled where there are any. Where there are none, and as root on
Debian, it starts an engine, builds Kubernetes from source and images from Debian's packages: slow once, then cached.
Needs no more of Python than its own library, so it can be at work while the environment is made.
"""

import os

from tools.cluster import kind, release
from tools.machine import CLUSTER, StepFailed, alone, fail, step, works
from tools.offline import binaries, engine, images
from tools.offline.recipes import NODE_IMAGE


def main() -> None:
    """See the module's text."""
    try:
        alone()
        ensure()
        step("the cluster is there")
    except StepFailed as failure:
        fail(str(failure))


def ensure() -> bool:
    """A cluster, unless it is there. Returns whether its images are made here. Raises `StepFailed`."""
    offline = kind.runs_on_images_made_here() if CLUSTER in kind.names() else not can_pull()
    programs = binaries.missing(offline=offline)
    made: list[str] = []
    if offline:
        # An engine that takes seconds to build and start knows which images are there: then all can be said beforehand.
        engine.packages()
        binaries.build([name for name in programs if name == "bounded-runtime"])
        programs = binaries.missing(offline=offline)
        engine.ensure()
        made = images.missing()
    if programs or made:
        minutes = binaries.minutes(programs) + images.minutes(made)
        step(f"{len(programs)} programs and {len(made)} images come first, once: about {minutes:.0f} min on two cores")
    binaries.build(programs)
    images.build(made)
    node = NODE_IMAGE if offline else os.environ.get("KIND_NODE_IMAGE", "")
    kind.ensure(node)
    return offline


def can_pull() -> bool:
    """Whether an engine runs here that can pull the base of our image."""
    # Ours runs only where there was none, and stays with what was begun on it.
    if engine.is_ours() or os.environ.get("KIND_NODE_IMAGE", "").startswith("waypost/"):
        return False
    base = release.OFFICIAL_BASE
    return works("docker", "info") and (
        works("docker", "image", "inspect", base) or works("docker", "pull", "--quiet", base)
    )


if __name__ == "__main__":
    main()
