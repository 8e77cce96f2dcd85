"""Installs our image and chart in the cluster for a trial.

The trial also gets servers, a simulated Meta and a trace collector.
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from tools.cluster import kind, traces
from tools.digests import digest
from tools.machine import CLUSTER, REPOSITORY, print_step, run, succeeds
from tools.offline.recipes import APP_BASE, COLLECTOR, SERVERS

NAMESPACE = "waypost"
OFFICIAL_BASE = "python:3.13-slim"
OFFICIAL_COLLECTOR = "otel/opentelemetry-collector-contrib:0.165.0"
HERE = REPOSITORY / "tools/cluster"
CHART = REPOSITORY / "charts/waypost"

IMAGE_INPUTS = ("Dockerfile", "Makefile", "pyproject.toml", "requirements.image.lock", "services/waypost")
"""Everything that ends up in our image, or says how it is built."""


def app_image(*, offline: bool) -> str:
    """Returns the name of our image.

    The tag is a digest of the image's inputs, so an upgrade replaces pods that run an older image.
    """
    return f"waypost:{digest(base_image(offline=offline), *(REPOSITORY / path for path in IMAGE_INPUTS))}"


def base_image(*, offline: bool) -> str:
    """Returns the name of the image on which our image is based."""
    return APP_BASE if offline else OFFICIAL_BASE


def load_images(*, offline: bool) -> None:
    """Builds our image unless it exists. Loads it, and the images that cannot be pulled, into the cluster."""
    image = app_image(offline=offline)
    if not succeeds("docker", "image", "inspect", image):
        print_step("building our image")
        python = ("IMAGE_PYTHON=3.11",) if offline else ()
        run("make", "image", f"IMAGE={image}", f"BASE_IMAGE={base_image(offline=offline)}", *python)
        for earlier in run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "waypost").splitlines():
            if earlier != image and re.fullmatch(r"waypost:[0-9a-f]{12}", earlier):
                run("docker", "image", "rm", earlier)
    if missing := kind.images_to_load([image, *((SERVERS, COLLECTOR) if offline else ())]):
        print_step("loading images into the cluster")
        run("kind", "load", "docker-image", "--name", CLUSTER, *missing)


def install_collector(*, offline: bool) -> None:
    """Installs the trace collector in a namespace of its own."""
    manifest = (HERE / "collector.yaml").read_text()
    image = COLLECTOR if offline else OFFICIAL_COLLECTOR
    run("kubectl", "apply", "--filename", "-",
        stdin=manifest.replace("${COLLECTOR}", image).replace("${APP}", app_image(offline=offline)))  # fmt: skip


def trial_values(*, offline: bool) -> dict[str, Any]:
    """Returns the chart values that `make up` adds to the chart's own trial values."""
    repository, _, tag = app_image(offline=offline).partition(":")
    # One small node runs everything, and the scheduler counts requests, not usage.
    small = {"resources": {"requests": {"cpu": "10m"}}}
    values: dict[str, Any] = {
        **dict.fromkeys(("webhook", "worker", "operator", "console", "migration"), small),
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "simulator": {**small, "enabled": True, "world": _example_world()},
        "telemetry": {"endpoint": f"http://collector.{traces.NAMESPACE}:4318", "samplerArgument": "1.0"},
        "extraObjects": [each for service in kind.NODE_PORTS for each in _node_port_objects(service)],
    }
    servers = {**small, "image": SERVERS} if offline else small
    values["database"] = {"embedded": servers}
    values["redis"] = {"embedded": servers}
    return values


def install(chart_values: dict[str, Any], *more: str, chart: Path = CHART) -> None:
    """Installs or upgrades the chart in a namespace that admits only restricted pods."""
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


def _example_world() -> dict[str, Any]:
    """Returns the state that the simulated Meta needs for the numbers in examples/."""
    # Imported here, because `make cluster` imports this module and runs without the environment.
    from waypost.dev import manifests, simulated_world  # noqa: PLC0415

    declared = manifests.load(sorted((REPOSITORY / "examples").glob("*.yaml")))
    return simulated_world.seed(declared.numbers)


def _node_port_objects(service: str) -> list[dict[str, Any]]:
    """Returns a Service with the node port, and a NetworkPolicy that lets traffic through this port."""
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
