"""Our image and chart in the cluster, with all that a trial needs: servers, a simulated Meta, a collector of traces."""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.cluster import kind, traces
from tools.digests import digest
from tools.machine import CLUSTER, REPOSITORY, run, step, works
from tools.offline.recipes import APP_BASE, COLLECTOR, SERVERS

NAMESPACE = "waypost"
OFFICIAL_BASE = "python:3.13-slim"
OFFICIAL_COLLECTOR = "otel/opentelemetry-collector-contrib:0.165.0"
HERE = REPOSITORY / "tools/cluster"
CHART = REPOSITORY / "charts/waypost"

WORLD = """
import json, pathlib
from waypost.cli import manifests, world
declared = manifests.load(sorted(pathlib.Path("examples").glob("*.yaml")))
print(json.dumps(world.seed(declared.numbers)))
"""


APP_PARTS = ("Dockerfile", "Makefile", "pyproject.toml", "requirements.image.lock", "services/waypost")


def app(*, offline: bool) -> str:
    """Our image, named by what it is made of: pods of another one are replaced by an upgrade."""
    return f"waypost:{digest(base(offline=offline), *(REPOSITORY / part for part in APP_PARTS))}"


def base(*, offline: bool) -> str:
    """What our image is built on."""
    return APP_BASE if offline else OFFICIAL_BASE


def load_images(*, offline: bool) -> None:
    """Build our image, unless it is there, and bring it, and what cannot be pulled, into the cluster."""
    image = app(offline=offline)
    if not works("docker", "image", "inspect", image):
        step("building our image")
        python = ("IMAGE_PYTHON=3.11",) if offline else ()
        run("make", "image", f"IMAGE={image}", f"BASE_IMAGE={base(offline=offline)}", *python)
        for earlier in run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "waypost").splitlines():
            if earlier != image and re.fullmatch(r"waypost:[0-9a-f]{12}", earlier):
                run("docker", "image", "rm", earlier)
    if lacking := kind.lacking([image, *((SERVERS, COLLECTOR) if offline else ())]):
        step("loading images into the cluster")
        run("kind", "load", "docker-image", "--name", CLUSTER, *lacking)


def collector(*, offline: bool) -> None:
    """The collector of traces, in a namespace of its own."""
    manifest = (HERE / "collector.yaml").read_text()
    image = COLLECTOR if offline else OFFICIAL_COLLECTOR
    run("kubectl", "apply", "--filename", "-",
        stdin=manifest.replace("${COLLECTOR}", image).replace("${APP}", app(offline=offline)))  # fmt: skip


def values(*, offline: bool) -> dict[str, Any]:
    """On top of the chart's own trial values."""
    repository, _, tag = app(offline=offline).partition(":")
    # One small machine does it all, and counts what is asked for, not what is used.
    modest = {"resources": {"requests": {"cpu": "10m"}}}
    chosen: dict[str, Any] = {
        **dict.fromkeys(("webhook", "worker", "operator", "console", "migration"), modest),
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "simulator": {**modest, "enabled": True, "world": json.loads(run(sys.executable, "-c", WORLD))},
        "telemetry": {"endpoint": f"http://collector.{traces.NAMESPACE}:4318", "samplerArgument": "1.0"},
        "extraObjects": [each for service in kind.NODE_PORTS for each in _reached_from_outside(service)],
    }
    servers = {**modest, "image": SERVERS} if offline else modest
    chosen["database"] = {"embedded": servers}
    chosen["redis"] = {"embedded": servers}
    return chosen


def install(chart_values: dict[str, Any], *more: str, chart: Path = CHART) -> None:
    """Install the chart, or upgrade what is installed, in a namespace that lets in nothing but restricted pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    run("kubectl", "apply", "--server-side", "--filename", "-", stdin=json.dumps(namespace))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(chart_values, file)
        file.flush()
        run(
            "helm", "upgrade", "--install", "waypost", chart, "--namespace", NAMESPACE, "--wait", "--timeout", "300s",
            "--values", CHART / "ci/trial-values.yaml", "--values", file.name, *more,
        )  # fmt: skip


def _reached_from_outside(service: str) -> list[dict[str, Any]]:
    """A port on the node, and leave to come in by it."""
    pods = {"app.kubernetes.io/instance": "waypost", "app.kubernetes.io/component": service}
    name = f"{service}-outside"
    target = {"port": 80, "targetPort": "http", "nodePort": kind.NODE_PORTS[service]}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": pods, "ports": [target]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": {"podSelector": {"matchLabels": pods}, "ingress": [{"ports": [{"port": "http"}]}]},
        },
    ]
