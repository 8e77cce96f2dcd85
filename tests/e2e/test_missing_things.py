"""When a release lacks something that it needs, the pods or helm report what is missing."""

import json
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tools.cluster import kind, release
from tools.machine import REPOSITORY

from .installed import CommandFailed, Installed, run

pytestmark = pytest.mark.timeout(600)

NAMESPACE = "waypost-lacking"
PASSWORD = "canary-of-a-database-password"
NOWHERE = "127.0.0.1:9"
"""Address on which nothing listens in any pod."""

VALUES: dict[str, Any] = {
    "publicUrl": "https://whatsapp.example.com",
    # CRDs, policy and the roles of people belong to the other release.
    "crds": {"enabled": False},
    "admissionPolicy": {"enabled": False},
    "rbac": {"aggregate": False},
    "migration": {"enabled": False},
    "webhook": {"replicas": 1},
    "worker": {"replicas": 1},
    "redis": {"url": f"redis://:{PASSWORD}@{NOWHERE}/0"},
}


def test_pods_without_a_database_are_not_ready_and_say_so_in_one_line(installed: Installed) -> None:
    """Pods without a database are not ready, and log one line about the database.

    They do not restart, and they log neither a traceback nor the password.
    """
    with _lacking(database={"url": f"postgresql://waypost:{PASSWORD}@{NOWHERE}/waypost"}) as namespace:
        for component in ("webhook", "worker", "console"):
            installed.wait(
                partial(_warns_of, namespace, component, "database"), what=f"{component} to name the database"
            )
        pods = _pods(namespace)
        for component in ("webhook", "worker", "console"):
            (status,) = pods[component]["status"]["containerStatuses"]
            assert not status["ready"]
            assert status["restartCount"] == 0, component
            logged = [f"{line['event']} {line.get('reason', '')}" for line in _warnings(namespace, component)]
            assert sum("database" in each for each in logged) == 1, logged
            assert len(logged) == len(set(logged)) <= 2, logged  # a worker lacks Redis too
            assert "Traceback" not in _log(namespace, component)
            assert PASSWORD not in _log(namespace, component)


def test_pods_without_a_secret_wait_and_name_it(installed: Installed) -> None:
    """Pods wait for a missing Secret, and the pod status names it.

    Their containers do not start, so they do not crash.
    """
    with _lacking(database={"existingSecret": {"name": "forgotten"}}) as namespace:
        for component in ("webhook", "worker", "console"):
            installed.wait(
                partial(_waits_for, namespace, component, "forgotten"), what=f"{component} to name the Secret"
            )
            assert _pods(namespace)[component]["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.mark.parametrize(
    ("given", "quoted"),
    [
        ({"webhok": {}}, "webhok"),
        ({"webhook": {"replicas": "two"}}, "replicas"),
        ({"publicUrl": "http://whatsapp.example.com"}, "publicUrl"),
    ],
)
def test_invalid_values_are_refused_before_anything_is_created(
    installed: Installed, given: dict[str, Any], quoted: str
) -> None:
    """The chart's schema refuses invalid values before anything is created, and the error names the key."""
    before = _namespaces()
    with pytest.raises(CommandFailed, match=quoted), _lacking(database={"url": "postgresql://u@h/d"}, **given):
        pass
    assert _namespaces() <= before


@contextmanager
def _lacking(**values: object) -> Iterator[str]:
    """Installs a second release in its own namespace. Afterwards the namespace is deleted without waiting."""
    namespace = f"{NAMESPACE}-{secrets.token_hex(3)}"
    repository, _, tag = release.app_image(offline=kind.uses_built_node_image()).partition(":")
    image = {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(VALUES | {"image": image, "operator": {"namespaces": [namespace]}} | values, file)
        file.flush()
        try:
            run("helm", "install", "lacking", str(REPOSITORY / "charts/waypost"), "--namespace", namespace,
                "--create-namespace", "--values", file.name)  # fmt: skip
            yield namespace
        finally:
            run("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def _namespaces() -> set[str]:
    return set(run("kubectl", "get", "namespaces", "--output=name").splitlines())


def _pods(namespace: str) -> dict[str, Any]:
    found = json.loads(run("kubectl", "--namespace", namespace, "get", "pods", "--output=json"))["items"]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in found}


def _log(namespace: str, component: str) -> str:
    pod = _pods(namespace).get(component)
    try:
        return run("kubectl", "--namespace", namespace, "logs", pod["metadata"]["name"]) if pod else ""
    except CommandFailed:  # its container does not exist yet
        return ""


def _warnings(namespace: str, component: str) -> list[dict[str, str]]:
    """Returns the log lines whose level is warning or more severe."""
    lines = [json.loads(line) for line in _log(namespace, component).splitlines()]
    return [line for line in lines if line["level"] not in ("debug", "info")]


def _warns_of(namespace: str, component: str, word: str) -> bool:
    return word in str(_warnings(namespace, component))


def _waits_for(namespace: str, component: str, missing: str) -> bool:
    pod = _pods(namespace).get(component)
    states = pod["status"].get("containerStatuses", []) if pod else []
    return any(missing in each["state"].get("waiting", {}).get("message", "") for each in states)
