"""Writes every generated file, or checks that all are up to date: `make generate` and `make check`.

    python -m tools.generate [--check]

The lock files (`make lock`) and the collector's Go code (tools/offline/collector/README.md) are not among
these files, because both need downloads.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from tools.faults import results as faults
from tools.generate import chart_values
from tools.machine import REPOSITORY
from waypost.operator.api import generate as kinds

GENERATORS = (kinds.files, chart_values.files, results.files, faults.files)
"""Each returns the content of files by their path in the repository."""


def files() -> dict[Path, str]:
    """Returns the content of every generated file by its path in the repository."""
    return {path: content for generator in GENERATORS for path, content in generator().items()}


def stale(root: Path) -> list[Path]:
    """Returns the generated files below `root` that are missing or do not have the content that they should have."""
    return [path for path, content in files().items() if not _has_content(root / path, content)]


def write(root: Path) -> list[Path]:
    """Writes the stale files below `root`, and returns their paths."""
    paths, contents = stale(root), files()
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(contents[path], encoding="utf-8")
    return paths


def main(arguments: Sequence[str] | None = None, root: Path = REPOSITORY) -> int:
    """Writes or checks the files. Returns the exit status, which is 1 if a check finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description="Write every generated file.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    if parser.parse_args(arguments).check:
        paths = stale(root)
        for path in paths:
            sys.stderr.write(f"{path} is stale; run `make generate`\n")
        return 1 if paths else 0
    for path in write(root):
        print(f"wrote {path}")
    return 0


def _has_content(file: Path, content: str) -> bool:
    return file.exists() and file.read_text(encoding="utf-8") == content


if __name__ == "__main__":
    sys.exit(main())
