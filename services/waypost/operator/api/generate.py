"""Writes the files generated from the models: `crds/`, the chart's copies and `docs/reference/`.

`python -m waypost.operator.api.generate [ROOT]`; `make generate` runs it.
"""

import sys
from pathlib import Path

from waypost.operator.api import crd
from waypost.operator.api.reference import reference


def files() -> dict[Path, str]:
    """Returns the content of every generated file by its path below the project's root."""
    # Helm reads no file outside of the chart, so the chart has copies.
    folders = (Path("crds"), Path("charts/waypost/files/crds"))
    manifests = {folder / kind.file: crd.manifest(kind) for kind in crd.KINDS for folder in folders}
    return manifests | {Path("docs/reference") / f"{kind.kind.lower()}.md": reference(kind) for kind in crd.KINDS}


def main(root: Path) -> None:
    """Writes all generated files below `root`."""
    for path, content in files().items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
