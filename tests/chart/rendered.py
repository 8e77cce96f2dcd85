"""Renders the chart with `helm template`, and finds objects in the result."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

CHART = Path(__file__).parents[2] / "charts" / "waypost"
CACHE = Path(os.environ.get("WAYPOST_CACHE", Path.home() / ".cache" / "waypost"))
VALUES = sorted(path.stem.removesuffix("-values") for path in (CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "waypost", "waypost-system"
KUBERNETES = "1.34.0"
"""Version to render for; a helm that was built from source has no default."""

_CLUSTER_WIDE = ("ClusterRole", "CustomResourceDefinition", "ValidatingAdmissionPolicy")


@cache
def tool(name: str) -> str | None:
    """Returns the path of a program, or None if it is missing.

    The program is on PATH, or was built by `make check-chart` or `make up`.
    """
    return shutil.which(name, path=os.pathsep.join((os.environ["PATH"], str(CACHE / "bin"))))


class Refused(Exception):
    """Raised when helm refuses the chart or the values. The message is that of helm."""


def helm(*arguments: str) -> str:
    """Runs helm and returns its output. Raises `Refused`."""
    program = tool("helm")
    assert program is not None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering of the chart."""

    objects: tuple[Manifest, ...]

    def all(self, kind: str) -> list[Manifest]:
        """Returns the objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        """Returns one object. `name` is the part after the release's name, such as `webhook`, or an empty text."""
        full = f"{RELEASE}-{name}" if name else RELEASE
        found = [each for each in self.all(kind) if each["metadata"]["name"] == full]
        assert len(found) == 1, f"{kind} {full}: {len(found)}"
        return found[0]

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Yields each pod template with the kind and name of the object that contains it."""
        for each in self.objects:
            name = f"{each['kind']}/{each['metadata']['name']}"
            if each["kind"] in {"Deployment", "StatefulSet", "Job"}:
                yield name, each["spec"]["template"]
            elif each["kind"] == "Pod":
                yield name, each

    def pod(self, component: str) -> Manifest:
        """Returns the pod spec of a Deployment."""
        spec: Manifest = self.one("Deployment", component)["spec"]["template"]["spec"]
        return spec

    def environment(self, component: str) -> Mapping[str, Manifest]:
        """Returns the environment variables of a Deployment's container as a mapping from names."""
        return {each["name"]: each for each in self.pod(component)["containers"][0]["env"]}

    def in_namespaces(self) -> list[Manifest]:
        """Returns all objects. If a namespaced object names no namespace, adds the release's namespace to it."""
        return [
            each
            if each["kind"].startswith(_CLUSTER_WIDE)
            else {**each, "metadata": {"namespace": NAMESPACE, **each["metadata"]}}
            for each in self.objects
        ]


def template(values: str = "", sets: Sequence[str] = (), more: Sequence[str] = ()) -> str:
    """Renders the chart with `ci/<values>-values.yaml`, the files in `more` and `--set` arguments. Raises `Refused`."""
    files = ["--values", str(CHART / "ci" / f"{values}-values.yaml")] if values else []
    files += [word for file in more for word in ("--values", file)]
    given = [word for each in sets for word in ("--set", each)]
    return helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES, *files, *given)


@cache
def render(values: str = "", sets: Sequence[str] = (), more: Sequence[str] = ()) -> Rendered:
    """Returns the objects that `template` renders. Raises `Refused`."""
    return Rendered(tuple(each for each in yaml.safe_load_all(template(values, sets, more)) if each))
