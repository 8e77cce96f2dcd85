"""Generates files from the models: `crds/`, the chart's copies of them, and `docs/reference/`.

`make generate` writes these files.
"""

from pathlib import Path

from waypost.operator.api import crd
from waypost.operator.api.reference import reference


def files() -> dict[Path, str]:
    """Returns a dict from the path of each generated file to its content. Paths are relative to the project's root."""
    # Helm reads no file outside of the chart, so the chart has copies.
    folders = (Path("crds"), Path("charts/waypost/files/crds"))
    manifests = {folder / kind.file: crd.manifest(kind) for kind in crd.KINDS for folder in folders}
    return manifests | {Path("docs/reference") / f"{kind.kind.lower()}.md": reference(kind) for kind in crd.KINDS}
