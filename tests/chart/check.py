"""What `make check-chart` does: lint, render and validate the chart under all of its values, and run its own suites."""

import os
import subprocess
import sys
from pathlib import Path

from . import schemas
from .rendered import CHART, KUBERNETES, VALUES, Refused, helm, template, tool

ROOT = CHART.parents[1]
PROGRAMS = ("helm", "kubeconform", "helm-unittest")
INNER_LOOP = str(CHART / "ci" / "inner-loop.yaml")
"""Goes on top of the trial's values."""


class ToolsMissing(Exception):
    """A program is neither there nor can it be built; the message names what to install."""


class Failed(Exception):
    """The chart is not as it should be; the message is the program's own."""


def main() -> int:
    """The status to end with: 0 when all is well, or when nothing could be checked and nobody relies on it."""
    try:
        _build()
        places = (schemas.published(), schemas.ours(ROOT / "build" / "schemas"))
    except (ToolsMissing, schemas.SchemasMissing) as missing:
        sys.stderr.write(f"The chart is not checked: {missing}.\n")
        return 1 if os.environ.get("CI") else 0
    except schemas.SchemasUnknown as unknown:
        sys.stderr.write(f"{unknown}\n")
        return 1
    except subprocess.CalledProcessError:
        return 1  # it has said itself what could not be built
    try:
        for values in VALUES:
            _check(values, places)
        _check("trial", places, INNER_LOOP)
        for folder in ("crds", "examples"):
            conform("".join(f"---\n{each.read_text()}" for each in sorted((ROOT / folder).glob("*.yaml"))), places)
        _suites()
    except (Failed, Refused) as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    return 0


def _build() -> None:
    lacking = [name for name in PROGRAMS if tool(name) is None]
    if not lacking:
        return
    if tool("go") is None:
        raise ToolsMissing(f"{', '.join(lacking)} must be on PATH, or Go, to build them")
    builder = ROOT / "tools" / "cluster" / "binaries.py"
    subprocess.run([sys.executable, builder, *lacking], check=True, stdout=sys.stderr)
    tool.cache_clear()


def _check(values: str, places: tuple[Path, ...], *more: str) -> None:
    given = [word for file in (str(CHART / "ci" / f"{values}-values.yaml"), *more) for word in ("--values", file)]
    helm("lint", "--quiet", "--strict", "--kube-version", KUBERNETES, *given, str(CHART))
    conform(template(values, more=more), places)


def conform(manifests: str, places: tuple[Path, ...]) -> None:
    """Every field of every object is known; a kind without a schema is refused as well. Raises `Failed`."""
    locations = [word for place in places for word in ("-schema-location", f"{place}/{schemas.LOCATION}")]
    _run("kubeconform", "-strict", *locations, "-", stdin=manifests)


def _suites() -> None:
    _run("helm-unittest", "--strict", str(CHART))


def _run(name: str, *arguments: str, stdin: str = "") -> None:
    program = tool(name)
    assert program is not None
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise Failed(f"{name}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
