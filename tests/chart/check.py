"""Checks the chart for `make check-chart`.

Lints, renders and validates the chart with each values file, and runs its test suites.
"""

import os
import subprocess
import sys
from pathlib import Path

from . import schemas
from .rendered import CHART, KUBERNETES, VALUES, Refused, helm, template, tool

ROOT = CHART.parents[1]
PROGRAMS = ("helm", "kubeconform", "helm-unittest")
INNER_LOOP = str(CHART / "ci" / "inner-loop.yaml")
"""Values that are added to those of a trial."""


class ToolsMissing(Exception):
    """Raised when a program is missing and cannot be built.

    The message names the programs to install. A retry does not help.
    """


class Failed(Exception):
    """Raised when a program found a mistake in the chart. The message is that of the program."""


def main() -> int:
    """Checks the chart. Returns the exit status.

    The status is 0 if the chart is correct. It is also 0 if the chart could not be checked and this is not a CI
    run.
    """
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
        return 1  # the builder itself has printed what failed
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
    missing = [name for name in PROGRAMS if tool(name) is None]
    if not missing:
        return
    if tool("go") is None:
        raise ToolsMissing(f"{', '.join(missing)} must be on PATH, or Go, to build them")
    subprocess.run([sys.executable, "-m", "tools.offline.binaries", *missing], cwd=ROOT, check=True, stdout=sys.stderr)
    tool.cache_clear()


def _check(values: str, places: tuple[Path, ...], *more: str) -> None:
    given = [word for file in (str(CHART / "ci" / f"{values}-values.yaml"), *more) for word in ("--values", file)]
    helm("lint", "--quiet", "--strict", "--kube-version", KUBERNETES, *given, str(CHART))
    conform(template(values, more=more), places)


def conform(manifests: str, places: tuple[Path, ...]) -> None:
    """Raises `Failed` if an object has an unknown field, or if there is no schema for its kind."""
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
