"""`make up`: Waypost on a kind cluster of this machine, with a simulated Meta, until the bot has answered a message.

Takes a Docker engine that runs and images that can be pulled where there are any. Where there are none, and as root on
Debian, it starts an engine, builds Kubernetes from source and images from Debian's packages: slow once, then cached.
"""

import os

import binaries
import engine
import hello
import images
import kind
import release
from machine import CLUSTER, KUBECONFIG, REPOSITORY, TEAM, StepFailed, alone, fail, run, step, works
from recipes import NODE_IMAGE

READY_WITHIN_S = 120


def main() -> None:
    """See the module's text."""
    try:
        alone()
        offline = cluster()
        release.load_images(offline=offline)
        release.collector(offline=offline)
        step("installing the chart")
        release.install(release.values(offline=offline))
        apply_examples()
        hello.say()
        print(f"\nexport KUBECONFIG={KUBECONFIG}   # then: kubectl get whatsappnumbers --all-namespaces")
        print("make down removes it all.")
        step("up")
    except StepFailed as failure:
        fail(str(failure))


def cluster() -> bool:
    """The cluster, and all that it takes to make one. Returns whether its images are made here. Raises `StepFailed`."""
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


def apply_examples() -> None:
    """What a product team would do."""
    step("applying examples/ and waiting until the number is ready")
    if not works("kubectl", "get", "namespace", TEAM):
        run("kubectl", "create", "namespace", TEAM)
    run("kubectl", "apply", "--filename", REPOSITORY / "examples")
    run("kubectl", "--namespace", TEAM, "wait", "--for=condition=Ready", "whatsappnumber", "--all",
        f"--timeout={READY_WITHIN_S}s")  # fmt: skip
    print(run("kubectl", "--namespace", TEAM, "get", "whatsapp"))


if __name__ == "__main__":
    main()
