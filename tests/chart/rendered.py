"""The chart as `helm template` renders it, and what is looked up in it."""

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
"""A helm that was built from source does not know by itself for which version it renders."""

_CLUSTER_WIDE = ("ClusterRole", "CustomResourceDefinition", "ValidatingAdmissionPolicy")


@cache
def tool(name: str) -> str | None:
    """Where a program is: on PATH, or built by `make check-chart` or `make up`."""
    return shutil.which(name, path=os.pathsep.join((os.environ["PATH"], str(CACHE / "bin"))))


class Refused(Exception):
    """helm refused; the message is its own."""


def helm(*arguments: str) -> str:
    """Run helm. Raises `Refused`."""
    program = tool("helm")
    assert program is not None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Rendered:
    """All objects of one rendering."""

    objects: tuple[Manifest, ...]

    def all(self, kind: str) -> list[Manifest]:
        """Objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        """That object; `name` without the release's, as `webhook`, or `` for what has the release's own name."""
        full = f"{RELEASE}-{name}" if name else RELEASE
        found = [each for each in self.all(kind) if each["metadata"]["name"] == full]
        assert len(found) == 1, f"{kind} {full}: {len(found)}"
        return found[0]

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """What each pod is made of, by the name of what makes it."""
        for each in self.objects:
            name = f"{each['kind']}/{each['metadata']['name']}"
            if each["kind"] in {"Deployment", "StatefulSet", "Job"}:
                yield name, each["spec"]["template"]
            elif each["kind"] == "Pod":
                yield name, each

    def pod(self, component: str) -> Manifest:
        """The pod's spec of a Deployment."""
        spec: Manifest = self.one("Deployment", component)["spec"]["template"]["spec"]
        return spec

    def environment(self, component: str) -> Mapping[str, Manifest]:
        """The variables of a Deployment's container, by name."""
        return {each["name"]: each for each in self.pod(component)["containers"][0]["env"]}

    def in_namespaces(self) -> list[Manifest]:
        """The objects with the namespace they are installed into."""
        return [
            each
            if each["kind"].startswith(_CLUSTER_WIDE)
            else {**each, "metadata": {"namespace": NAMESPACE, **each["metadata"]}}
            for each in self.objects
        ]


def template(values: str = "", sets: Sequence[str] = (), more: Sequence[str] = ()) -> str:
    """Manifests, with `ci/<values>-values.yaml`, `more` files and `--set` arguments. Raises `Refused`."""
    files = ["--values", str(CHART / "ci" / f"{values}-values.yaml")] if values else []
    files += [word for file in more for word in ("--values", file)]
    given = [word for each in sets for word in ("--set", each)]
    return helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES, *files, *given)


@cache
def render(values: str = "", sets: Sequence[str] = (), more: Sequence[str] = ()) -> Rendered:
    """The objects of `template`. Raises `Refused`."""
    return Rendered(tuple(each for each in yaml.safe_load_all(template(values, sets, more)) if each))
