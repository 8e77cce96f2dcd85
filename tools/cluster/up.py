"""`make up`: Waypost on a kind cluster of this machine, with a simulated Meta, until the bot has answered a message.

Takes a Docker engine that runs and images that can be pulled where there are any. Where there are none, and as root on
Debian, it starts an engine, builds Kubernetes from source and images from Debian's packages: slow once, then cached.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import binaries
import engine
from machine import (
    APP,
    APP_BASE,
    BINARIES,
    CACHE,
    CLUSTER,
    KUBECONFIG,
    NAMESPACE,
    NODE_IMAGE,
    REPOSITORY,
    SERVERS,
    TEAM,
    StepFailed,
    environment,
    fail,
    run,
    step,
    works,
)  # fmt: skip

OFFICIAL_BASE = "python:3.13-slim"
READY_WITHIN_S = 120


def main() -> None:
    """See the module's text."""
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        offline = not can_pull()
        if offline:
            engine.packages()
        binaries.build(binaries.missing(offline=offline))
        engine.ensure()
        node = build_images() if offline else os.environ.get("KIND_NODE_IMAGE", "")
        cluster(node)
        install(application(offline=offline), offline=offline)
        apply_examples()
        say_hello()
    except StepFailed as failure:
        fail(str(failure))


def can_pull() -> bool:
    """Whether an engine runs here that can pull the base of our image."""
    if os.environ.get("KIND_NODE_IMAGE", "").startswith("waypost/"):
        return False
    return works("docker", "info") and (
        works("docker", "image", "inspect", OFFICIAL_BASE) or works("docker", "pull", "--quiet", OFFICIAL_BASE)
    )


def build_images() -> str:
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
    return NODE_IMAGE


def debian(tag: str, packages: str) -> None:
    """An image of Debian with these packages."""
    if works("docker", "image", "inspect", tag):
        return
    step(f"image {tag} from Debian's packages")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", archive)
        run("docker", "import", archive, tag)


def cluster(node: str) -> None:
    """A kind cluster, unless it is there."""
    if CLUSTER in run("kind", "get", "clusters").split() and works("kubectl", "get", "nodes"):
        return
    step("creating the cluster")
    image = ("--image", node) if node else ()
    run("kind", "create", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG, "--wait", "180s", *image)


def application(*, offline: bool) -> str:
    """Our image, built and loaded into the cluster."""
    step("building our image")
    base = ("BASE_IMAGE=" + APP_BASE, "IMAGE_PYTHON=3.11") if offline else ("BASE_IMAGE=" + OFFICIAL_BASE,)
    run("make", "image", f"IMAGE={APP}", *base)
    step("loading images into the cluster")
    run("kind", "load", "docker-image", "--name", CLUSTER, APP, *((SERVERS,) if offline else ()))
    return APP


def install(image: str, *, offline: bool) -> None:
    """The chart, with all that a trial needs in one namespace."""
    step("installing the chart")
    repository, _, tag = image.partition(":")
    values: dict[str, object] = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "simulator": {"enabled": True, "world": json.loads(run(sys.executable, "-c", WORLD))},
    }
    if offline:
        values["database"] = {"embedded": {"image": SERVERS}}
        values["redis"] = {"embedded": {"image": SERVERS}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        run(
            "helm", "upgrade", "--install", "waypost", REPOSITORY / "charts/waypost", "--namespace", NAMESPACE,
            "--create-namespace", "--values", REPOSITORY / "charts/waypost/ci/trial-values.yaml", "--values", file.name,
            "--wait", "--timeout", "300s",
        )  # fmt: skip


WORLD = """
import json, pathlib
from waypost.cli import manifests, world
declared = manifests.load(sorted(pathlib.Path("examples").glob("*.yaml")))
print(json.dumps(world.seed(declared.numbers)))
"""


def apply_examples() -> None:
    """What a product team would do."""
    step("applying examples/ and waiting until the number is ready")
    if not works("kubectl", "get", "namespace", TEAM):
        run("kubectl", "create", "namespace", TEAM)
    run("kubectl", "apply", "--filename", REPOSITORY / "examples")
    run("kubectl", "--namespace", TEAM, "wait", "--for=condition=Ready", "whatsappnumber", "--all",
        f"--timeout={READY_WITHIN_S}s")  # fmt: skip
    print(run("kubectl", "--namespace", TEAM, "get", "whatsapp"))


def say_hello() -> None:
    """A user writes at the simulated Meta, which delivers signed; the reply is read there."""
    step("a user writes to the bot")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forward = subprocess.Popen(
        ["kubectl", "--namespace", NAMESPACE, "port-forward", "service/waypost-simulator", f"{port}:8082"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        hello = {"number": "106540352242922", "from": "+15551230000", "name": "Ada", "text": "Hello"}
        deadline = time.monotonic() + 60
        answer = None
        while answer is None:
            try:
                answer = ask(port, "/_sim/inbound", hello)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StepFailed(f"the simulator cannot be reached: {error}") from None
                time.sleep(0.5)
        replies: list[dict[str, object]] = []
        while not replies:
            if time.monotonic() > deadline:
                raise StepFailed("no reply came; see `kubectl --namespace waypost logs deployment/waypost-worker`")
            replies = ask(port, "/_sim/sent")
            time.sleep(0.2)
        print(f"\nuser  Hello\nbot   {replies[-1]['text']}\n")
    finally:
        forward.terminate()
        forward.wait()
    print(f"export KUBECONFIG={KUBECONFIG}   # then: kubectl get whatsappnumbers --all-namespaces")
    print("make down removes it all.")
    step("up")


def ask(port: int, path: str, body: object = None) -> list[dict[str, object]]:
    """A call of the simulator's control."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=15) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
